//! The tables of `src/docs/format.md`, held against the constants of the code: a change of either alone fails.

use raft_journal::layout::{meta, segment};

const PAGE: &str = include_str!("../src/docs/format.md");

/// A table of fields as the code has it: names and offsets in order, and the length of it all.
struct Layout {
    heading: &'static str,
    fields: &'static [(&'static str, usize)],
    bytes: usize,
}

/// A row of a table of fields.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    field: String,
    offset: usize,
    bytes: usize,
}

fn layouts() -> Vec<Layout> {
    [headers_and_batches(), indexes(), state(), encryption()].into_iter().flatten().collect()
}

/// A segment file's headers, and what stands in its batches.
fn headers_and_batches() -> Vec<Layout> {
    use segment as s;
    vec![
        Layout {
            heading: "Segment header",
            fields: &[
                ("magic", s::HEADER_MAGIC_AT),
                ("version", s::HEADER_VERSION_AT),
                ("check", s::HEADER_CHECK_AT),
                ("flags", s::HEADER_FLAGS_AT),
                ("key id", s::HEADER_KEY_ID_AT),
                ("journal id", s::HEADER_JOURNAL_ID_AT),
                ("sequence", s::HEADER_SEQUENCE_AT),
                ("size", s::HEADER_SIZE_AT),
                ("salt", s::HEADER_SALT_AT),
            ],
            bytes: s::HEADER_BYTES,
        },
        Layout {
            heading: "Key record",
            fields: &[("check", s::KEY_RECORD_CHECK_AT), ("key check", s::KEY_RECORD_KEY_CHECK_AT)],
            bytes: s::KEY_RECORD_BYTES,
        },
        Layout {
            heading: "Batch header",
            fields: &[
                ("check", s::BATCH_CHECK_AT),
                ("body check", s::BATCH_BODY_CHECK_AT),
                ("kind", s::BATCH_KIND_AT),
                ("count", s::BATCH_COUNT_AT),
                ("body length", s::BATCH_BODY_LEN_AT),
                ("offset", s::BATCH_OFFSET_AT),
                ("first index", s::BATCH_FIRST_INDEX_AT),
                ("chain", s::BATCH_CHAIN_AT),
                ("life", s::BATCH_LIFE_AT),
                ("meta generation", s::BATCH_META_GENERATION_AT),
                ("mark sequence", s::BATCH_MARK_SEQUENCE_AT),
                ("mark offset", s::BATCH_MARK_OFFSET_AT),
                ("replacing", s::BATCH_REPLACING_AT),
                ("base", s::BATCH_BASE_AT),
            ],
            bytes: s::BATCH_BYTES,
        },
        Layout {
            heading: "Entry",
            fields: &[
                ("check", s::ENTRY_CHECK_AT),
                ("stored length", s::ENTRY_LEN_AT),
                ("flags", s::ENTRY_FLAGS_AT),
                ("term", s::ENTRY_TERM_AT),
            ],
            bytes: s::ENTRY_BYTES,
        },
    ]
}

/// A segment file's index, and what leads to it.
fn indexes() -> Vec<Layout> {
    use segment as s;
    vec![
        Layout {
            heading: "Seal and index",
            fields: &[
                ("check", s::SUMMARY_CHECK_AT),
                ("runs", s::SUMMARY_RUNS_AT),
                ("count", s::SUMMARY_COUNT_AT),
                ("replacing", s::SUMMARY_REPLACING_AT),
                ("base", s::SUMMARY_BASE_AT),
                ("first", s::SUMMARY_FIRST_AT),
                ("next", s::SUMMARY_NEXT_AT),
                ("successor", s::SUMMARY_SUCCESSOR_AT),
                ("successor salt", s::SUMMARY_SUCCESSOR_SALT_AT),
            ],
            bytes: s::SUMMARY_BYTES,
        },
        Layout { heading: "Term run", fields: &[("first index", 0), ("term", 8)], bytes: s::RUN_BYTES },
        Layout { heading: "Page of slots", fields: &[("check", 0), ("number", 4)], bytes: s::PAGE_HEAD_BYTES },
        Layout { heading: "Slot", fields: &[("offset", 0), ("check", 4)], bytes: s::SLOT_BYTES },
        Layout {
            heading: "Trailer",
            fields: &[
                ("check", s::TRAILER_CHECK_AT),
                ("seal", s::TRAILER_SEAL_AT),
                ("seal check", s::TRAILER_SEAL_CHECK_AT),
                ("sequence", s::TRAILER_SEQUENCE_AT),
            ],
            bytes: s::TRAILER_BYTES,
        },
    ]
}

/// `meta`.
fn state() -> Vec<Layout> {
    use meta as m;
    vec![
        Layout {
            heading: "One copy",
            fields: &[
                ("magic", m::MAGIC_AT),
                ("version", m::VERSION_AT),
                ("check", m::CHECK_AT),
                ("length", m::LEN_AT),
                ("flags", m::FLAGS_AT),
                ("generation", m::GENERATION_AT),
                ("journal id", m::JOURNAL_ID_AT),
                ("life", m::LIFE_AT),
                ("accepted", m::ACCEPTED_AT),
                ("repaired", m::REPAIRED_AT),
                ("pairs", m::PAIRS_AT),
                ("life begin", m::BEGIN_AT),
                ("mark sequence", m::MARK_SEQUENCE_AT),
                ("mark offset", m::MARK_OFFSET_AT),
                ("mark chain", m::MARK_CHAIN_AT),
                ("mark next", m::MARK_NEXT_AT),
                ("mark last term", m::MARK_LAST_TERM_AT),
                ("mark base", m::MARK_BASE_AT),
                ("mark replacing", m::MARK_REPLACING_AT),
                ("mark index", m::MARK_INDEX_AT),
                ("purged index", m::PURGED_INDEX_AT),
                ("purged term", m::PURGED_TERM_AT),
                ("start sequence", m::START_SEQUENCE_AT),
                ("start salt", m::START_SALT_AT),
                ("start offset", m::START_OFFSET_AT),
                ("start chain", m::START_CHAIN_AT),
                ("start base", m::START_BASE_AT),
            ],
            bytes: m::FIXED_BYTES,
        },
        Layout {
            heading: "Accepted damage",
            fields: &[
                ("sequence", 0),
                ("offset", 8),
                ("first", 12),
                ("end", 20),
                ("resume sequence", m::ACCEPTED_OLD_BYTES),
                ("resume offset", 36),
            ],
            bytes: m::ACCEPTED_BYTES,
        },
        Layout {
            heading: "Repair",
            fields: &[("sequence", 0), ("place", 8), ("first", 12), ("end", 20), ("file", 28), ("salt", 36)],
            bytes: m::REPAIRED_BYTES,
        },
        Layout { heading: "Pair", fields: &[("key length", 0), ("value length", 1)], bytes: m::PAIR_HEAD_BYTES },
    ]
}

/// What encryption puts in the place of plain bytes.
fn encryption() -> Vec<Layout> {
    use meta as m;
    use segment as s;
    vec![
        Layout {
            heading: "Encrypted repair",
            fields: &[("check", s::STOOD_CHECK_AT), ("length", s::STOOD_LEN_AT)],
            bytes: s::STOOD_BYTES,
        },
        Layout {
            heading: "What is encrypted",
            fields: &[
                ("life", s::ENCRYPTED_LIFE_AT),
                ("random", s::ENCRYPTED_RANDOM_AT),
                ("ciphertext", s::ENCRYPTED_TEXT_AT),
                ("tag", s::ENCRYPTED_TEXT_AT),
            ],
            bytes: s::ENCRYPTED_BYTES,
        },
        Layout {
            heading: "Terms of an encrypted copy",
            fields: &[("last term", m::HIDDEN_LAST_TERM_AT), ("purged term", m::HIDDEN_PURGED_TERM_AT)],
            bytes: m::HIDDEN_BYTES,
        },
        Layout {
            heading: "Encrypted pairs",
            fields: &[
                ("key id", m::ENCRYPTED_KEY_ID_AT),
                ("random", m::ENCRYPTED_RANDOM_AT),
                ("key check", m::ENCRYPTED_KEY_CHECK_AT),
                ("ciphertext", m::ENCRYPTED_TEXT_AT),
                ("tag", m::ENCRYPTED_TEXT_AT),
            ],
            bytes: m::ENCRYPTED_BYTES,
        },
    ]
}

/// The constants that the page names outside of fields: heading, name, value.
fn constants() -> Vec<(&'static str, &'static str, String)> {
    let text = |magic: [u8; 8]| format!("`{}`", magic.escape_ascii().to_string().replace("\\x00", "\\0"));
    vec![
        ("A segment file", "MAGIC", text(segment::MAGIC)),
        ("A segment file", "VERSION", segment::VERSION.to_string()),
        ("A segment file", "FLAG_ALIGNED", segment::FLAG_ALIGNED.to_string()),
        ("A segment file", "FLAG_TERMS_ENCRYPTED", segment::FLAG_TERMS_ENCRYPTED.to_string()),
        ("A segment file", "ALIGN_BYTES", segment::ALIGN_BYTES.to_string()),
        ("A segment file", "ALIGN_BYTES_ALIGNED", segment::ALIGN_BYTES_ALIGNED.to_string()),
        ("A segment file", "EDGE_BYTES", segment::EDGE_BYTES.to_string()),
        ("`meta`", "MAGIC", text(meta::MAGIC)),
        ("`meta`", "VERSION", meta::VERSION.to_string()),
        ("`meta`", "VERSION_REPAIRED", meta::VERSION_REPAIRED.to_string()),
        ("`meta`", "VERSION_ACCEPTED", meta::VERSION_ACCEPTED.to_string()),
        ("`meta`", "ACCEPTED_FLAG_VOID", meta::ACCEPTED_FLAG_VOID.to_string()),
        ("`meta`", "ACCEPTED_FLAG_OPEN_ENDED", meta::ACCEPTED_FLAG_OPEN_ENDED.to_string()),
        ("`meta`", "VERSION_ENCRYPTED", meta::VERSION_ENCRYPTED.to_string()),
        ("`meta`", "COPY_ALIGN_BYTES", meta::COPY_ALIGN_BYTES.to_string()),
        ("`meta`", "COPIES", meta::COPIES.to_string()),
    ]
}

/// The text from a heading to the next one.
fn section<'a>(page: &'a str, heading: &str) -> Option<&'a str> {
    let is_heading = |line: &str| line.starts_with('#') && line.trim_start_matches('#').trim() == heading;
    let start = page.lines().find(|line| is_heading(line))?;
    let text = page.split_once(&format!("{start}\n"))?.1;
    Some(text.split_once("\n#").map_or(text, |(text, _)| text))
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(inner.split(" | ").map(|cell| cell.trim().to_owned()).collect())
}

/// The rows of the table in a section whose first columns have these titles.
fn table(text: &str, titles: &[&str]) -> Vec<Vec<String>> {
    let mut rows = text.lines().skip_while(|line| {
        cells(line).is_none_or(|cells| cells.len() < titles.len() || cells[..titles.len()] != *titles)
    });
    rows.next();
    rows.skip(1).map_while(cells).collect()
}

/// Says how the page differs from a layout.
fn check_layout(page: &str, layout: &Layout) -> Result<(), String> {
    let heading = layout.heading;
    let text = section(page, heading).ok_or(format!("no section `{heading}`"))?;
    let number = |cell: &str| cell.parse::<usize>().map_err(|error| format!("{heading}: `{cell}`: {error}"));
    let mut found = Vec::new();
    for row in table(text, &["field", "offset", "bytes"]) {
        found.push(Row { field: row[0].clone(), offset: number(&row[1])?, bytes: number(&row[2])? });
    }
    let ends = layout.fields.iter().skip(1).map(|&(_, offset)| offset).chain([layout.bytes]);
    let expected = layout.fields.iter().zip(ends).map(|(&(field, offset), end)| Row {
        field: field.to_owned(),
        offset,
        bytes: end - offset,
    });
    let expected: Vec<Row> = expected.collect();
    if found != expected {
        return Err(format!("{heading}: the page says {found:#?}, the code {expected:#?}"));
    }
    let length = format!("Length: {}", layout.bytes);
    let says = text.lines().any(|line| line.strip_prefix(&length).is_some_and(|rest| rest.starts_with(['.', ';'])));
    if says { Ok(()) } else { Err(format!("{heading}: no line begins with `{length}`")) }
}

#[test]
fn every_field_stands_where_the_page_says() {
    for layout in layouts() {
        check_layout(PAGE, &layout).unwrap();
    }
}

#[test]
fn every_table_of_the_page_is_checked() {
    let tables = PAGE.lines().filter(|line| line.starts_with("| field | offset | bytes |")).count();
    assert_eq!(tables, layouts().len());
    let rows: usize = ["A segment file", "`meta`"]
        .iter()
        .map(|heading| table(section(PAGE, heading).unwrap_or_default(), &["constant", "value"]).len())
        .sum();
    assert_eq!(rows, constants().len());
}

#[test]
fn every_constant_has_the_value_that_the_page_says() {
    for (heading, name, value) in constants() {
        let rows = table(section(PAGE, heading).unwrap_or_default(), &["constant", "value"]);
        let row = rows.iter().find(|row| row[0] == format!("`{name}`"));
        assert_eq!(row.map(|row| row[1].as_str()), Some(value.as_str()), "{heading}: {name}");
    }
    assert_eq!(segment::PAGE_HEAD_BYTES + segment::PAGE_SLOTS * segment::SLOT_BYTES, segment::PAGE_BYTES);
    assert_eq!(segment::VERSION, meta::VERSION);
    let (version, repaired, accepted) = (meta::VERSION, meta::VERSION_REPAIRED, meta::VERSION_ACCEPTED);
    let put_back = format!("\nVersion {version}; of `meta` also {repaired}, once entries have been put back, ");
    let on_record = format!("{put_back}{accepted}, once a loss is on record, ");
    let versions = format!("{on_record}and {}, if it is encrypted. ", meta::VERSION_ENCRYPTED);
    assert!(PAGE.contains(&versions), "{versions}");
    let slots = format!("then slots up to {} bytes in all: {}.", segment::PAGE_BYTES, segment::PAGE_SLOTS);
    assert!(PAGE.contains(&slots), "{slots}");
    let bounds = [raft_journal::KEY_BYTES_MAX, raft_journal::VALUE_BYTES_MAX];
    let rows = table(section(PAGE, "Pair").unwrap_or_default(), &["field"]);
    for (row, bound) in rows.iter().zip(bounds) {
        assert_eq!(row[3], format!("at most {bound}"));
    }
}

#[test]
fn a_changed_constant_and_a_changed_row_are_noticed() {
    let entry = || layouts().into_iter().find(|layout| layout.heading == "Entry").unwrap();
    assert_eq!(check_layout(PAGE, &entry()), Ok(()));
    let moved: &[(&str, usize)] = &[("check", 0), ("stored length", 4), ("flags", 6), ("term", 12)];
    assert!(check_layout(PAGE, &Layout { fields: moved, ..entry() }).is_err(), "an offset");
    assert!(check_layout(PAGE, &Layout { bytes: 24, ..entry() }).is_err(), "a length");
    let fewer: &[(&str, usize)] = &[("check", 0), ("stored length", 4), ("flags", 8)];
    assert!(check_layout(PAGE, &Layout { fields: fewer, ..entry() }).is_err(), "a field");
    for (old, new) in [
        ("| stored length | 4 | 4 |", "| stored length | 4 | 8 |"),
        ("| stored length | 4 | 4 |", "| stored length | 5 | 4 |"),
        ("| stored length | 4 | 4 |", "| length | 4 | 4 |"),
        ("Length: 20; the payload", "Length: 21; the payload"),
        ("### Entry\n", "### Entries\n"),
    ] {
        assert_eq!(PAGE.matches(old).count(), 1, "{old}");
        assert!(check_layout(&PAGE.replace(old, new), &entry()).is_err(), "{new}");
    }
}
