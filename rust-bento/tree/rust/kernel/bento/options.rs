// SPDX-License-Identifier: GPL-2.0

//! Mount options that the core leaves to the file system.

use super::{
    OptionSpec,
    OptionValue, //
};
use crate::prelude::*;

/// The most options of a mount: more than any format has.
const MOST: usize = 32;

/// One option as it was given.
struct Given {
    name: KVec<u8>,
    value: Option<KVec<u8>>,
}

/// Options that a file system was mounted with, beside those of the core.
///
/// # Invariants
///
/// Names and values are UTF-8.
pub struct Options {
    given: KVec<Given>,
}

/// What is wrong with an option, in words that follow its name.
pub(super) enum Wrong {
    /// The file system does not know it.
    Unknown,
    /// It needs a value of another form.
    Value,
}

fn copy(text: &str) -> Result<KVec<u8>> {
    let mut copy = KVec::with_capacity(text.len(), GFP_KERNEL)?;
    copy.extend_from_slice(text.as_bytes(), GFP_KERNEL)?;
    Ok(copy)
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or("")
}

/// A decimal number with an optional suffix k, M, G or T.
fn number(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (text.get(..text.len() - 1)?, 10),
        b'M' => (text.get(..text.len() - 1)?, 20),
        b'G' => (text.get(..text.len() - 1)?, 30),
        b'T' => (text.get(..text.len() - 1)?, 40),
        _ => (text, 0),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

impl Options {
    /// No options.
    pub(super) const fn new() -> Self {
        Self { given: KVec::new() }
    }

    /// Adds an option; a later one of the same name counts.
    ///
    /// # Errors
    ///
    /// `E2BIG` if there are more than a format has: whoever may open a mount context, and need not
    /// be allowed to mount, adds them.
    pub(super) fn add(&mut self, name: &str, value: Option<&str>) -> Result {
        self.given.retain(|given| text(&given.name) != name);
        if self.given.len() >= MOST {
            return Err(E2BIG);
        }
        // INVARIANT: Both come from a `str`.
        self.given.push(
            Given {
                name: copy(name)?,
                value: value.map(copy).transpose()?,
            },
            GFP_KERNEL,
        )?;
        Ok(())
    }

    /// The first option that `specs` does not allow.
    pub(super) fn check(&self, specs: &[OptionSpec]) -> Result<(), (&str, Wrong)> {
        for given in &self.given {
            let name = text(&given.name);
            let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
                return Err((name, Wrong::Unknown));
            };
            let value = given.value.as_ref().map(|value| text(value));
            let good = match (spec.value, value) {
                (OptionValue::Flag, None) => true,
                (OptionValue::Number, Some(value)) => number(value).is_some(),
                (OptionValue::Word(words), Some(value)) => words.contains(&value),
                _ => false,
            };
            if !good {
                return Err((name, Wrong::Value));
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Given> {
        self.given.iter().find(|given| text(&given.name) == name)
    }

    /// All options, as they were given.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.given.iter().map(|given| {
            let value = given.value.as_ref().map(|value| text(value));
            (text(&given.name), value)
        })
    }

    /// Whether the flag was given.
    pub fn flag(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The number that was given.
    pub fn number(&self, name: &str) -> Option<u64> {
        number(text(self.find(name)?.value.as_ref()?))
    }

    /// The word that was given.
    pub fn word(&self, name: &str) -> Option<&str> {
        Some(text(self.find(name)?.value.as_ref()?))
    }
}

#[kunit_tests(rust_bento_options)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_suffixes_and_bounds() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("12k"), Some(12 << 10));
        assert_eq!(number("3T"), Some(3 << 40));
        assert_eq!(number(""), None);
        assert_eq!(number("k"), None);
        assert_eq!(number("-1"), None);
        assert_eq!(number("+1"), None);
        assert_eq!(number("99999999999T"), None);
    }

    #[test]
    fn options_are_few() -> Result {
        let mut options = Options::new();
        let name = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";
        for len in 1..=MOST {
            options.add(name.get(..len).unwrap_or(""), None)?;
        }
        assert_eq!(options.add("other", None), Err(E2BIG));
        options.add("n", Some("replaced"))?;
        assert_eq!(options.word("n"), Some("replaced"));
        Ok(())
    }

    #[test]
    fn options_are_checked_against_their_specs() -> Result {
        let specs = [
            OptionSpec {
                name: "flag",
                value: OptionValue::Flag,
            },
            OptionSpec {
                name: "word",
                value: OptionValue::Word(&["a", "b"]),
            },
        ];
        let mut options = Options::new();
        options.add("flag", None)?;
        options.add("word", Some("a"))?;
        options.add("word", Some("b"))?;
        assert!(options.check(&specs).is_ok());
        assert_eq!(options.word("word"), Some("b"));
        assert!(options.flag("flag") && !options.flag("other"));
        options.add("word", Some("c"))?;
        assert!(matches!(options.check(&specs), Err(("word", Wrong::Value))));
        options.add("word", Some("a"))?;
        options.add("other", None)?;
        assert!(matches!(
            options.check(&specs),
            Err(("other", Wrong::Unknown))
        ));
        Ok(())
    }
}
