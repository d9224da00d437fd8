// SPDX-License-Identifier: GPL-2.0

//! Mount options of a file system's own.

use super::{
    OptionSpec,
    OptionValue, //
};
use crate::{
    error::{
        code::*,
        Result, //
    },
    pr_err, //
};

/// The options that were given at mount, checked against
/// [`FileSystem::OPTIONS`](super::FileSystem::OPTIONS).
#[derive(Clone, Debug, Default)]
pub struct Options {
    given: Vec<(&'static str, Value)>,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Flag,
    Number(u64),
    Word(&'static str),
}

impl Options {
    /// Parses comma-separated options. `EINVAL` for one that is unknown or has a wrong value.
    pub(crate) fn parse<'t>(
        text: impl IntoIterator<Item = &'t str>,
        specs: &[OptionSpec],
    ) -> Result<Self> {
        let mut given = Vec::new();
        for option in text {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
                pr_err!("unknown option '{name}'");
                return Err(EINVAL);
            };
            let parsed = match (spec.value, value) {
                (OptionValue::Flag, None) => Some(Value::Flag),
                (OptionValue::Number, Some(value)) => parse_number(value).map(Value::Number),
                (OptionValue::Word(words), Some(value)) => {
                    words.iter().find(|w| **w == value).map(|w| Value::Word(w))
                }
                _ => None,
            };
            let Some(parsed) = parsed else {
                pr_err!("option '{option}': bad value");
                return Err(EINVAL);
            };
            given.retain(|(other, _)| *other != spec.name);
            given.push((spec.name, parsed));
        }
        Ok(Self { given })
    }

    fn get(&self, name: &str) -> Option<Value> {
        self.given
            .iter()
            .find(|(given, _)| *given == name)
            .map(|(_, value)| *value)
    }

    /// Whether the flag was given.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Flag))
    }

    /// The number that was given.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        }
    }

    /// The word that was given.
    pub fn word(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Word(word)) => Some(word),
            _ => None,
        }
    }
}

fn parse_number(text: &str) -> Option<u64> {
    let shift = match text.bytes().last()? {
        b'k' | b'K' => 10,
        b'm' | b'M' => 20,
        b'g' | b'G' => 30,
        b't' | b'T' => 40,
        _ => 0,
    };
    let digits = &text[..text.len() - usize::from(shift != 0)];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}
