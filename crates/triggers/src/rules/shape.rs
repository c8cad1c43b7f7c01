//! Triggers that ask for the same fields: filed under the values that they ask for, and within these by one bound.
//!
//! What an event finds here is only a candidate: two values may have one name.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};

use super::decimal::Decimal;
use super::facts::{Facts, number};
use super::node::Expected;
use super::paths::{Equal, Form};

/// The triggers with the same fields.
#[derive(Debug)]
pub(super) struct Shape {
    fields: Box<[(Box<str>, Form)]>,
    buckets: HashMap<u64, Bucket, Plain>,
}

/// The triggers with the same values.
#[derive(Debug)]
enum Bucket {
    One(u32),
    Many(Box<Many>),
}

#[derive(Debug, Default)]
struct Many {
    plain: Vec<u32>,
    bounds: Vec<Bounds>,
}

/// Triggers in the order of what they ask of a field.
#[derive(Debug)]
struct Bounds {
    field: Box<str>,
    at_least: bool,
    by_number: BTreeMap<Decimal, Vec<u32>>,
}

/// Where a trigger is filed.
#[derive(Debug)]
pub(super) struct IndexEntry {
    pub(super) shape: u32,
    pub(super) values: u64,
    pub(super) bound: Option<Box<(Box<str>, bool, Decimal)>>,
}

impl Shape {
    /// One without triggers.
    pub(super) fn new(equals: &[Equal<'_>]) -> Self {
        let fields = equals.iter().map(|equal| (equal.field.into(), equal.form)).collect();
        Self { fields, buckets: HashMap::default() }
    }

    /// Whether it is of these fields, which are in order.
    pub(super) fn is_of(&self, equals: &[Equal<'_>]) -> bool {
        let same = |(field, equal): (&(Box<str>, Form), &Equal<'_>)| {
            (&*field.0, field.1) == (equal.field, equal.form)
        };
        self.fields.len() == equals.len() && self.fields.iter().zip(equals).all(same)
    }

    /// Whether there are no triggers in it.
    #[cfg(test)]
    pub(super) fn is_bare(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Adds the triggers that are filed under that name and whose bounds the event meets.
    pub(super) fn find(&self, values: u64, facts: &Facts, found: &mut Vec<u32>) {
        match self.buckets.get(&values) {
            Some(Bucket::One(slot)) => found.push(*slot),
            Some(Bucket::Many(many)) => many.find(facts, found),
            None => {}
        }
    }

    /// The name of the values that an event has in the fields; none if it lacks one.
    pub(super) fn values_of(&self, hashing: &RandomState, facts: &Facts) -> Option<u64> {
        let mut hasher = hashing.build_hasher();
        for (field, form) in &self.fields {
            let value = facts.get(field)?;
            match form {
                Form::Number => name_number(&mut hasher, &number(value)?),
                Form::Text => name_text(&mut hasher, value.as_str()?),
                Form::Flag => hasher.write_u8(u8::from(value.as_bool()?)),
            }
        }
        Some(hasher.finish())
    }

    pub(super) fn put(&mut self, entry: &IndexEntry, slot: u32) {
        if entry.bound.is_none() && !self.buckets.contains_key(&entry.values) {
            self.buckets.insert(entry.values, Bucket::One(slot));
            return;
        }
        let bucket = self.buckets.entry(entry.values).or_insert_with(|| Bucket::Many(Box::default()));
        if let Bucket::One(other) = bucket {
            *bucket = Bucket::Many(Box::new(Many { plain: vec![*other], bounds: Vec::new() }));
        }
        let Bucket::Many(many) = bucket else { return };
        let Some(bound) = &entry.bound else {
            many.plain.push(slot);
            return;
        };
        let (field, at_least, number) = &**bound;
        let same = |bounds: &Bounds| bounds.field == *field && bounds.at_least == *at_least;
        let at = many.bounds.iter().position(same).unwrap_or_else(|| {
            let by_number = BTreeMap::new();
            many.bounds.push(Bounds { field: field.clone(), at_least: *at_least, by_number });
            many.bounds.len() - 1
        });
        if let Some(bounds) = many.bounds.get_mut(at) {
            bounds.by_number.entry(number.clone()).or_default().push(slot);
        }
    }

    pub(super) fn take(&mut self, entry: &IndexEntry, slot: u32) {
        let Some(bucket) = self.buckets.get_mut(&entry.values) else { return };
        let is_empty = match bucket {
            Bucket::One(_) => true,
            Bucket::Many(many) => {
                many.take(entry, slot);
                many.plain.is_empty() && many.bounds.is_empty()
            }
        };
        if is_empty {
            self.buckets.remove(&entry.values);
        }
    }
}

impl Many {
    fn take(&mut self, entry: &IndexEntry, slot: u32) {
        let Some(bound) = &entry.bound else {
            if let Some(at) = self.plain.iter().position(|known| *known == slot) {
                self.plain.swap_remove(at);
            }
            return;
        };
        let (field, at_least, number) = &**bound;
        for bounds in &mut self.bounds {
            if bounds.field == *field
                && bounds.at_least == *at_least
                && let Some(slots) = bounds.by_number.get_mut(number)
            {
                slots.retain(|known| *known != slot);
                if slots.is_empty() {
                    bounds.by_number.remove(number);
                }
            }
        }
        self.bounds.retain(|bounds| !bounds.by_number.is_empty());
    }

    fn find(&self, facts: &Facts, found: &mut Vec<u32>) {
        found.extend(&self.plain);
        for bounds in &self.bounds {
            let Some(actual) = facts.get(&bounds.field).and_then(number) else { continue };
            // Bounds that are just met are candidates of either kind.
            let met = if bounds.at_least {
                bounds.by_number.range(..=actual)
            } else {
                bounds.by_number.range(actual..)
            };
            found.extend(met.flat_map(|(_, slots)| slots));
        }
    }
}

/// A name for each combination of values.
pub(super) fn combinations(hashing: &RandomState, equals: &[Equal<'_>]) -> Vec<u64> {
    let mut hashers = vec![hashing.build_hasher()];
    for equal in equals {
        let joined = hashers.iter().flat_map(|hasher| {
            equal.values.iter().map(|value| {
                let mut hasher = hasher.clone();
                name_value(&mut hasher, value);
                hasher
            })
        });
        hashers = joined.collect();
    }
    let mut names: Vec<u64> = hashers.iter().map(Hasher::finish).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn name_value(hasher: &mut impl Hasher, value: &Expected) {
    match value {
        Expected::Number(number) => name_number(hasher, number),
        Expected::Text(text) => name_text(hasher, text),
        Expected::Flag(flag) => hasher.write_u8(u8::from(*flag)),
        Expected::List(_) | Expected::Nothing => {}
    }
}

fn name_number(hasher: &mut impl Hasher, number: &Decimal) {
    match number {
        Decimal::Small(units) => hasher.write_i128(*units),
        Decimal::Large(_) => name_text(hasher, &number.to_string()),
    }
}

fn name_text(hasher: &mut impl Hasher, text: &str) {
    hasher.write(text.as_bytes());
    hasher.write_u8(0xff);
}

/// Keys that are hashes already.
#[derive(Debug, Clone, Copy, Default)]
struct Plain;

impl BuildHasher for Plain {
    type Hasher = PlainHasher;

    fn build_hasher(&self) -> PlainHasher {
        PlainHasher(0)
    }
}

#[derive(Debug)]
struct PlainHasher(u64);

impl Hasher for PlainHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
