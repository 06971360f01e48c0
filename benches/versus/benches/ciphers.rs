//! What encryption takes with one cipher or another, from several crates: sealing and opening 1 KiB in place, its tag behind it.
//!
//! ```text
//! cargo bench -p versus --features ciphers --bench ciphers
//! ```

use std::hint::black_box;

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const ENTRY_BYTES: usize = 1024;
const TAG_BYTES: usize = 16;
const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 12] = [9; 12];

fn both_ways(criterion: &mut Criterion, name: &str, seal: impl Fn(&mut [u8]), open: impl Fn(&mut [u8]) -> bool) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(ENTRY_BYTES as u64));
    let mut sealed = vec![1; ENTRY_BYTES + TAG_BYTES];
    group.bench_function("seal", |bencher| bencher.iter(|| seal(black_box(&mut sealed))));
    group.bench_function("open", |bencher| {
        let opens = |sealed: &mut Vec<u8>| assert!(open(black_box(sealed)));
        bencher.iter_batched_ref(|| sealed.clone(), opens, BatchSize::SmallInput);
    });
}

/// One of RustCrypto's.
fn rust_crypto<C: AeadInOut + KeyInit>(criterion: &mut Criterion, name: &str) {
    let cipher = C::new_from_slice(&KEY).expect("a key of 32 bytes");
    let nonce = NONCE.as_slice().try_into().expect("a nonce of 12 bytes");
    let seal = |sealed: &mut [u8]| {
        let (text, tag) = sealed.split_at_mut(ENTRY_BYTES);
        let made = cipher.encrypt_inout_detached(nonce, &[], InOutBuf::from(text)).expect("a short text");
        tag.copy_from_slice(&made);
    };
    let open = |sealed: &mut [u8]| {
        let (text, tag) = sealed.split_at_mut(ENTRY_BYTES);
        let tag = (&*tag).try_into().expect("a tag of 16 bytes");
        cipher.decrypt_inout_detached(nonce, &[], InOutBuf::from(text), tag).is_ok()
    };
    both_ways(criterion, name, seal, open);
}

/// One of ring's, or of what has the same interface.
macro_rules! like_ring {
    ($criterion:expr, $aead:path, $cipher:ident, $name:expr) => {{
        use $aead as aead;
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::$cipher, &KEY).expect("a key of 32 bytes"));
        let nonce = || aead::Nonce::assume_unique_for_key(NONCE);
        let seal = |sealed: &mut [u8]| {
            let (text, tag) = sealed.split_at_mut(ENTRY_BYTES);
            let made = key.seal_in_place_separate_tag(nonce(), aead::Aad::empty(), text).expect("a short text");
            tag.copy_from_slice(made.as_ref());
        };
        let open = |sealed: &mut [u8]| key.open_in_place(nonce(), aead::Aad::empty(), sealed).is_ok();
        both_ways($criterion, $name, seal, open);
    }};
}

fn ciphers(criterion: &mut Criterion) {
    like_ring!(criterion, ring::aead, AES_256_GCM, "AES-256-GCM, ring");
    like_ring!(criterion, aws_lc_rs::aead, AES_256_GCM, "AES-256-GCM, aws-lc-rs");
    rust_crypto::<aes_gcm::Aes256Gcm>(criterion, "AES-256-GCM, aes-gcm");
    like_ring!(criterion, ring::aead, CHACHA20_POLY1305, "ChaCha20-Poly1305, ring");
    rust_crypto::<chacha20poly1305::ChaCha20Poly1305>(criterion, "ChaCha20-Poly1305, chacha20poly1305");
}

criterion_group!(benches, ciphers);
criterion_main!(benches);
