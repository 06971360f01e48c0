//! The house rules: what a reader of `src/` may rely on without looking.

use std::fs;
use std::path::{Path, PathBuf};

/// What a floor may import: the modules below it. Checked for every `use crate::…` and every `crate::…` path outside
/// of tests and comments.
const FLOORS: &[(&str, &[&str])] = &[
    // Ground floor.
    ("sync", &[]),
    ("contained", &[]),
    ("entry", &[]),
    ("error", &["entry"]),
    // Bugs on purpose, for tests alone: the module exists, and may be named, only under its cfg.
    ("mutate", &[]),
    // Keys, and what is done with them.
    ("keys", &["error"]),
    // One door to the disk; bytes in, bytes out.
    ("io", &["contained", "mutate", "sync"]),
    ("codec", &[]),
    ("histogram", &[]),
    ("tally", &["sync"]),
    // What a store is, and what one has done.
    ("stats", &["error", "histogram"]),
    ("pending", &["entry", "error", "sync"]),
    ("log_store", &["entry", "error", "pending"]),
    ("digest", &["entry", "error", "log_store"]),
    ("stable_store", &["entry", "error"]),
    ("memory", &["entry", "error", "log_store", "pending", "stable_store", "sync"]),
    // The two kinds of file, which never meet.
    ("segment", &["codec", "entry", "error", "io", "keys", "mutate", "sync"]),
    ("meta", &["codec", "entry", "error", "io", "keys", "mutate", "stable_store"]),
    // The only floor that knows both.
    (
        "journal",
        &[
            "codec",
            "contained",
            "digest",
            "entry",
            "error",
            "histogram",
            "io",
            "keys",
            "log_store",
            "meta",
            "mutate",
            "pending",
            "segment",
            "stable_store",
            "stats",
            "sync",
            "tally",
        ],
    ),
    // Proves any store, and so stands on what a store is, and on the simulated disk.
    ("conformance", &["entry", "error", "io", "log_store", "memory", "stable_store", "sync"]),
    // Doors for the fuzz targets, in their builds alone.
    ("fuzzing", &["codec", "entry", "error", "io", "meta", "segment"]),
    (ROOF, &["contained", "entry", "error", "io", "journal", "log_store", "memory", "pending", "stable_store", "sync"]),
    // The program sees the crate from outside, and its own modules by `super`.
    ("bin", &[]),
];

/// Adapters to Raft libraries stand on everything.
const ROOF: &str = "adapters";

const LINES_MAX: usize = 600;

/// The only file that may name the operating system's files and threads.
const OS: &str = "io/os.rs";

/// Where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    path: String,
    line: usize,
    rule: String,
}

/// What marks an item that only tests build: their own, and the model checker's.
const TEST_CFGS: [&str; 2] = ["#[cfg(test)]", "#[cfg(shuttle)]"];

/// The code of a file, line by line: comments, literals and test modules blanked out.
fn code(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut scanner = Scanner::default();
    let mut tests_follow = false;
    let mut test_depth: Option<usize> = None;
    let mut depth = 0usize;
    for line in text.lines() {
        let visible = scanner.visible(line);
        let starts_test = TEST_CFGS.iter().any(|cfg| visible.trim_start().starts_with(cfg));
        if test_depth.is_none() && starts_test {
            tests_follow = true;
        }
        let before = depth;
        depth = depth + visible.matches('{').count() - visible.matches('}').count().min(depth);
        let hidden = tests_follow || test_depth.is_some();
        if tests_follow && !starts_test && !visible.trim().is_empty() {
            // The item that the attribute is about: one line, or a block up to where its depth is left.
            if depth > before {
                (tests_follow, test_depth) = (false, Some(before));
            } else if visible.contains(';') || visible.contains('}') {
                tests_follow = false;
            }
        } else if test_depth.is_some_and(|outside| depth <= outside) {
            test_depth = None;
        }
        lines.push(if hidden { String::new() } else { visible });
    }
    lines
}

/// Keeps track of block comments and strings from line to line.
#[derive(Default)]
struct Scanner {
    comment: bool,
    /// In a string: what ends it, and whether a backslash escapes.
    string: Option<(String, bool)>,
}

impl Scanner {
    fn visible(&mut self, line: &str) -> String {
        let mut out = String::new();
        let mut rest = line;
        while let Some(next) = rest.chars().next() {
            if self.comment {
                match rest.find("*/") {
                    Some(end) => (self.comment, rest) = (false, &rest[end + 2..]),
                    None => break,
                }
            } else if let Some((end, escapes)) = self.string.clone() {
                if escapes && next == '\\' {
                    rest = rest.get(2..).unwrap_or_default();
                } else if let Some(after) = rest.strip_prefix(end.as_str()) {
                    (self.string, rest) = (None, after);
                } else {
                    rest = &rest[next.len_utf8()..];
                }
            } else if rest.starts_with("//") {
                break;
            } else if let Some(after) = rest.strip_prefix("/*") {
                (self.comment, rest) = (true, after);
            } else if let Some(after) = char_literal(rest) {
                out.push('_');
                rest = after;
            } else if let Some((hashes, after)) = raw_string(rest, &out) {
                out.push('_');
                (self.string, rest) = (Some((format!("\"{}", "#".repeat(hashes)), false)), after);
            } else if next == '"' {
                out.push('_');
                (self.string, rest) = (Some(("\"".to_owned(), true)), &rest[1..]);
            } else {
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        out
    }
}

/// What follows a character literal; a lifetime is none.
fn char_literal(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('\'')?;
    if let Some(escaped) = inner.strip_prefix('\\') {
        let after = escaped.get(1..)?;
        return Some(&after[after.find('\'')? + 1..]);
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..].strip_prefix('\'')
}

/// The hashes of a raw string that starts here, and what follows its quote.
fn raw_string<'a>(text: &'a str, before: &str) -> Option<(usize, &'a str)> {
    let in_word = before.chars().next_back().is_some_and(|last| last.is_alphanumeric() || last == '_');
    let after = text.strip_prefix("r").filter(|_| !in_word || before.ends_with('b'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    Some((hashes, after[hashes..].strip_prefix('"')?))
}

/// The names right below the crate that a piece of code names, each with its line.
fn crate_names(code: &[String]) -> Vec<(usize, String)> {
    let text = code.join("\n");
    let mut found = Vec::new();
    for (at, path) in text.match_indices("crate::") {
        // `$crate` and `other_crate` are something else.
        if text[..at].ends_with(|before: char| before.is_alphanumeric() || "_$".contains(before)) {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        let after = &text[at + path.len()..];
        match after.strip_prefix('{') {
            None => found.push((line, word(after))),
            Some(group) => found.extend(group_names(group).into_iter().map(|name| (line, name))),
        }
    }
    found
}

/// The first name of each path in a group, up to the brace that ends it.
fn group_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut starts) = (Vec::new(), 0usize, true);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts = true,
            _ if starts && !char.is_whitespace() => {
                names.push(word(&group[at..]));
                starts = false;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

/// The floor that a file is part of: its folder, or its own name.
fn floor_of(path: &str) -> &str {
    path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// Everything that is wrong with one file; `path` is relative to `src`.
fn breaches(path: &str, text: &str) -> Vec<Breach> {
    let code = code(text);
    let mut found = Vec::new();
    let mut breach = |line: usize, rule: String| found.push(Breach { path: path.to_owned(), line, rule });
    let floor = floor_of(path);
    if text.lines().count() > LINES_MAX {
        breach(LINES_MAX + 1, format!("more than {LINES_MAX} lines"));
    }
    match FLOORS.iter().find(|(name, _)| *name == floor) {
        None if path != "lib.rs" => breach(1, format!("`{floor}` is on no floor")),
        None => {}
        Some((_, below)) => {
            for (line, module) in crate_names(&code) {
                // The roof sees what a user sees: what the crate's front page exports, too.
                let exported = floor == ROOF && module.starts_with(char::is_uppercase);
                if module != floor && !below.contains(&module.as_str()) && !exported {
                    breach(line, format!("`{floor}` imports `{module}`"));
                }
            }
        }
    }
    for (number, line) in code.iter().enumerate() {
        for rule in line_breaches(path, line) {
            breach(number + 1, rule);
        }
    }
    found
}

fn line_breaches(path: &str, line: &str) -> Vec<String> {
    let mut rules = Vec::new();
    let packed: String = line.chars().filter(|char| !char.is_whitespace()).collect();
    for name in ["std::fs", "std::thread"] {
        // `thread_local` and `fs::…` of the rest of the line are not the module itself.
        let named = packed.match_indices(name).any(|(at, _)| word(&packed[at + 5..]) == name[5..]);
        if path != OS && named {
            rules.push(format!("names `{name}`"));
        }
    }
    let grouped = packed.starts_with("usestd::{") && ["fs", "thread"].iter().any(|module| has_word(&packed, module));
    if path != OS && grouped {
        rules.push("names `std::fs` or `std::thread` in a group".to_owned());
    }
    for call in [".unwrap()", ".expect(", "panic!", "unreachable!", "todo!", "unimplemented!"] {
        let found = packed.match_indices(call).any(|(at, _)| {
            call.starts_with('.') || !packed[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
        });
        if found {
            rules.push(format!("`{call}` in library code"));
        }
    }
    if has_word(line, "unsafe") {
        rules.push("`unsafe`".to_owned());
    }
    if path.ends_with("format.rs") && (packed.contains("crate::io") || packed.contains("std::io")) {
        rules.push("a format names `io`".to_owned());
    }
    rules
}

fn has_word(line: &str, wanted: &str) -> bool {
    line.split(|char: char| !char.is_alphanumeric() && char != '_').any(|found| found == wanted)
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false => found.extend(path.extension().is_some_and(|extension| extension == "rs").then_some(path)),
        }
    }
    found.sort();
    found
}

#[test]
fn the_sources_keep_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root);
    assert!(files.len() > 30, "only {} files found", files.len());
    let check = |path: &PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        breaches(&name, &fs::read_to_string(path).unwrap())
    };
    let found: Vec<Breach> = files.iter().flat_map(check).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_crate_forbids_unsafe_code_and_undocumented_items() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for attribute in ["#![forbid(unsafe_code)]", "#![deny(missing_docs)]"] {
        assert!(lib.lines().any(|line| line == attribute), "{attribute}");
    }
}

#[test]
fn no_floor_may_import_one_above_it() {
    for (at, (name, below)) in FLOORS.iter().enumerate() {
        for module in *below {
            let place = FLOORS.iter().position(|(other, _)| other == module);
            assert!(place.is_some_and(|place| place < at), "`{name}` may import `{module}`, which is not below it");
        }
    }
    let may = |floor: &str, module: &str| FLOORS.iter().any(|(name, below)| *name == floor && below.contains(&module));
    assert!(!may("segment", "meta") && !may("meta", "segment"));
    assert!(may("journal", "meta") && may("journal", "segment"));
}

/// The rules that a made-up file breaks.
fn rules(path: &str, text: &str) -> Vec<String> {
    breaches(path, text).into_iter().map(|breach| format!("{}: {}", breach.line, breach.rule)).collect()
}

#[test]
fn every_rule_can_be_broken() {
    let cases = [
        ("segment/mod.rs", "use crate::journal::View;", "1: `segment` imports `journal`"),
        ("segment/mod.rs", "fn f() -> crate::meta::State {}", "1: `segment` imports `meta`"),
        ("meta/store.rs", "\nuse crate::segment::Segment;", "2: `meta` imports `segment`"),
        ("codec/crc.rs", "use crate::error::Error;", "1: `codec` imports `error`"),
        ("io/mod.rs", "use crate::error::Error;", "1: `io` imports `error`"),
        (
            "pending.rs",
            "use crate::{\n    error::{Error, Result},\n    meta::State,\n};",
            "1: `pending` imports `meta`",
        ),
        ("pending.rs", "use crate::Journal;", "1: `pending` imports `Journal`"),
        ("loft/mod.rs", "", "1: `loft` is on no floor"),
        ("segment/format.rs", "use crate::io::File;", "1: a format names `io`"),
        ("meta/format.rs", "use std::io::Read;", "1: a format names `io`"),
        ("journal/open.rs", "std::fs::rename(a, b)", "1: names `std::fs`"),
        ("journal/open.rs", "use std::thread;", "1: names `std::thread`"),
        ("journal/open.rs", "use std::{fs, path};", "1: names `std::fs` or `std::thread` in a group"),
        ("journal/open.rs", "let x = y.unwrap();", "1: `.unwrap()` in library code"),
        ("journal/open.rs", "let x = y\n    .expect(\"why\");", "2: `.expect(` in library code"),
        ("journal/open.rs", "panic!(\"no\")", "1: `panic!` in library code"),
        ("journal/open.rs", "_ => unreachable!(),", "1: `unreachable!` in library code"),
        ("journal/open.rs", concat!("todo", "!()"), "1: `todo!` in library code"),
        ("journal/open.rs", "unsafe { f() }", "1: `unsafe`"),
    ];
    for (path, text, rule) in cases {
        assert_eq!(rules(path, text), [rule], "{path}: {text}");
    }
    assert_eq!(rules("entry.rs", &"\n".repeat(LINES_MAX + 1)), ["601: more than 600 lines"]);
    assert_eq!(rules("entry.rs", &"\n".repeat(LINES_MAX)), [""; 0]);
}

#[test]
fn tests_comments_and_literals_are_not_code() {
    for text in [
        "// y.unwrap() panic!(no)",
        "/// let x = journal.expect(\"a journal\");",
        "/* unsafe\n y.unwrap() */ fn f() {}",
        "let text = \"y.unwrap() // \\\" unsafe\";",
        "let text = r#\"\" unsafe \"#;",
        "let quote = '\"'; let other = '\\''; // unsafe \"",
        "#[cfg(test)]\nmod tests {\n    fn f() {\n        y.unwrap();\n    }\n}\n",
        "#[cfg(test)]\nuse crate::journal::Journal;\n",
        "#[cfg(shuttle)]\nmod modelled {\n    fn f() {\n        y.unwrap();\n    }\n}\n",
        "#![forbid(unsafe_code)]",
        "use parking_lot::Mutex; my_panic!(x); y.expect_err(z); std::thread_local!(X);",
    ] {
        assert_eq!(rules("entry.rs", text), [""; 0], "{text}");
    }
    let behind = "#[cfg(test)]\nmod tests {\n    fn f() { y.unwrap(); }\n}\nfn g() { y.unwrap(); }\n";
    assert_eq!(rules("entry.rs", behind), ["5: `.unwrap()` in library code"]);
    let behind = "#[cfg(not(shuttle))]\nfn g() { y.unwrap(); }\n";
    assert_eq!(rules("entry.rs", behind), ["2: `.unwrap()` in library code"]);
    let behind = "#[cfg(test)]\nuse a::B;\nfn g<'a>(x: &'a str) { y.unwrap(); }\n";
    assert_eq!(rules("entry.rs", behind), ["3: `.unwrap()` in library code"]);
    let behind = "fn g() { f(\"{\"); f(r\"\\\"); y.unwrap() }";
    assert_eq!(rules("entry.rs", behind), ["1: `.unwrap()` in library code"]);
}
