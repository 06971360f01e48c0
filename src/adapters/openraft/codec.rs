//! How openraft's values become bytes: one byte that names the encoding, then MessagePack.
//!
//! A type config brings types that this crate has never seen, and whatever was acknowledged must be readable later.
//! That rules encodings out one by one: those that do not describe themselves (bincode, postcard) cannot read flattened
//! or untagged types back, JSON cannot write a map with structs for keys (a membership may be one) and triples raw
//! bytes. MessagePack is left, written so that serde's own gaps do not open: structs with their field names, so that
//! skipped and added fields are told apart, and types that have a text form in that form, because inside flattened and
//! untagged types serde reads nothing else.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::AdapterError;

/// The first byte of every value: MessagePack, with names and text forms.
pub(super) const ENCODING: u8 = 1;

pub(super) fn encode<T: Serialize>(value: &T, what: impl FnOnce() -> String) -> Result<Vec<u8>, AdapterError> {
    let mut bytes = vec![ENCODING];
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_human_readable();
    match value.serialize(&mut serializer) {
        Ok(()) => Ok(bytes),
        Err(source) => Err(AdapterError::Encode { what: what(), source }),
    }
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], what: impl FnOnce() -> String) -> Result<T, AdapterError> {
    let Some((&ENCODING, body)) = bytes.split_first() else {
        return Err(AdapterError::UnknownEncoding { what: what(), found: bytes.first().copied() });
    };
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body).with_human_readable();
    T::deserialize(&mut deserializer).map_err(|source| AdapterError::Decode { what: what(), source })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;
    use std::net::IpAddr;

    use serde::Deserialize;

    use super::*;

    fn name() -> String {
        "a value".to_owned()
    }

    fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        let bytes = encode(&value, name).unwrap();
        assert_eq!(decode::<T>(&bytes, name).unwrap(), value);
    }

    #[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Debug)]
    struct Key {
        rack: u8,
        slot: i64,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(untagged)]
    enum Untagged {
        Number(i64),
        Address { address: IpAddr },
        Words(Vec<String>),
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(tag = "kind")]
    enum Tagged {
        Empty,
        Addressed { address: IpAddr, ratio: f64 },
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Flattened {
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<char>,
        #[serde(flatten)]
        tagged: Tagged,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Open {
        id: u64,
        #[serde(flatten)]
        rest: BTreeMap<String, Untagged>,
    }

    #[test]
    fn types_that_serde_finds_hard_come_back() {
        let address = IpAddr::from([127, 0, 0, 1]);
        comes_back(BTreeMap::from(
            [(Key { rack: 1, slot: -7 }, Some("a")), (Key { rack: 2, slot: 0 }, None)]
                .map(|(key, value)| (key, value.map(str::to_owned))),
        ));
        comes_back(vec![Untagged::Number(-1), Untagged::Address { address }, Untagged::Words(vec!["w".into()])]);
        comes_back(Flattened { note: None, tagged: Tagged::Addressed { address, ratio: 0.1 } });
        comes_back(Flattened { note: Some('ü'), tagged: Tagged::Empty });
        comes_back(Open { id: 1, rest: BTreeMap::from([("more".to_owned(), Untagged::Address { address })]) });
        comes_back((u128::MAX, i128::MIN, u64::MAX, f64::MIN_POSITIVE, vec![0u8, 200, 255], (), true));
    }

    #[test]
    fn value_of_an_unknown_encoding_is_not_called_damaged() {
        let error = |bytes: &[u8]| decode::<u64>(bytes, name).unwrap_err();
        assert!(matches!(error(&[2, 7]), AdapterError::UnknownEncoding { found: Some(2), .. }));
        assert!(matches!(error(&[]), AdapterError::UnknownEncoding { found: None, .. }));
        assert!(matches!(error(&[1]), AdapterError::Decode { .. }));
    }
}
