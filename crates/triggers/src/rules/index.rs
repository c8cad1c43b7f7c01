//! All enabled triggers, found by what an event has: the cost of an event grows with its matches.
//!
//! A trigger is filed under the values that its equalities ask for, and within these by one bound. Triggers that ask
//! for the same fields share a shape, and an event is looked up once a shape. What is found is only a candidate.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use bowline_types::TenantId;
use uuid::Uuid;

use super::LINE;
use super::decimal::Decimal;
use super::facts::{Facts, number};
use super::fields::selectivity;
use super::node::Expected;
use super::paths::{Bound, Equal, Form, Way, ways};
use super::trigger::Rule;

/// Shapes of one scope at most; what would need one more is filed under one field.
const SHAPES_MAX: usize = 64;

/// Shapes of one field each at most, beyond [`SHAPES_MAX`]; what would need one more is filed under nothing.
const NARROW_SHAPES_MAX: usize = 128;

/// Places that combinations of listed values take at most.
const PLACES_MAX: usize = 64;

/// Which events a trigger is about, as far as the index sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Scope {
    /// Those of every registry.
    Chains,
    /// Those of one registry.
    Registry(Box<str>),
    /// An organization's own.
    Line(TenantId),
}

/// The triggers with the same fields.
#[derive(Debug)]
struct Shape {
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
struct Filed {
    shape: u32,
    values: u64,
    bound: Option<Box<(Box<str>, bool, Decimal)>>,
}

#[derive(Debug)]
struct Slot {
    rule: Arc<Rule>,
    scope: u32,
    filed: Box<[Filed]>,
}

/// The triggers.
#[derive(Debug, Default)]
pub(crate) struct Index {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_id: HashMap<Uuid, u32>,
    scopes: HashMap<Scope, u32>,
    shapes: Vec<Vec<Shape>>,
    hashing: RandomState,
    stateful: usize,
    lines: HashMap<TenantId, usize>,
}

/// Which triggers an event was held against already; one for whoever looks up.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    marks: Vec<u32>,
    mark: u32,
}

impl Index {
    /// Puts a trigger in, in place of the one with its id.
    pub(crate) fn insert(&mut self, rule: Rule) {
        self.remove(rule.trigger_id);
        let rule = Arc::new(rule);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let scope = self.scope(&rule);
        let filed = self.file(scope, &rule, slot);
        self.by_id.insert(rule.trigger_id, slot);
        self.stateful += usize::from(rule.is_stateful);
        if rule.registry.as_deref() == Some(LINE) {
            *self.lines.entry(rule.tenant_id).or_default() += 1;
        }
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(Slot { rule, scope, filed });
        }
    }

    /// Takes a trigger out.
    pub(crate) fn remove(&mut self, trigger_id: Uuid) {
        let Some(slot) = self.by_id.remove(&trigger_id) else { return };
        let Some(found) = self.slots.get_mut(slot as usize).and_then(Option::take) else { return };
        self.free.push(slot);
        self.stateful -= usize::from(found.rule.is_stateful);
        if found.rule.registry.as_deref() == Some(LINE)
            && let Some(count) = self.lines.get_mut(&found.rule.tenant_id)
        {
            *count -= 1;
            if *count == 0 {
                self.lines.remove(&found.rule.tenant_id);
            }
        }
        for filed in &found.filed {
            let shapes = self.shapes.get_mut(found.scope as usize);
            if let Some(shape) = shapes.and_then(|shapes| shapes.get_mut(filed.shape as usize)) {
                shape.take(filed, slot);
            }
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether one of them remembers something.
    pub(crate) fn remembers(&self) -> bool {
        self.stateful > 0
    }

    /// Whether an organization has triggers on its own streams.
    pub(crate) fn follows_line_of(&self, tenant_id: TenantId) -> bool {
        self.lines.contains_key(&tenant_id)
    }

    /// Every trigger.
    #[cfg(test)]
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.slots.iter().flatten().map(|slot| &slot.rule)
    }

    /// Whether nothing is left of the triggers that were in it.
    #[cfg(test)]
    pub(crate) fn is_bare(&self) -> bool {
        let is_empty = |shape: &Shape| shape.buckets.is_empty();
        self.by_id.is_empty() && self.stateful == 0 && self.shapes.iter().flatten().all(is_empty)
    }

    /// The triggers that an event passes, and how many were looked at.
    pub(crate) fn passed(&self, facts: &Facts, seen: &mut Seen) -> (Vec<Arc<Rule>>, usize) {
        seen.mark = seen.mark.wrapping_add(1);
        if seen.mark == 0 || seen.marks.len() < self.slots.len() {
            seen.marks.clear();
            seen.marks.resize(self.slots.len(), 0);
            seen.mark = 1;
        }
        let (mut passed, mut looked_at) = (Vec::new(), 0);
        let mut look = |slot: u32| {
            let Some(mark) = seen.marks.get_mut(slot as usize) else { return };
            if std::mem::replace(mark, seen.mark) == seen.mark {
                return;
            }
            looked_at += 1;
            if let Some(Some(found)) = self.slots.get(slot as usize)
                && found.rule.passes(facts)
            {
                passed.push(Arc::clone(&found.rule));
            }
        };
        for scope in Self::scopes_of(facts) {
            let shapes = self.scopes.get(&scope).and_then(|scope| self.shapes.get(*scope as usize));
            for shape in shapes.into_iter().flatten() {
                let bucket = self.values_of(shape, facts).and_then(|values| shape.buckets.get(&values));
                match bucket {
                    Some(Bucket::One(slot)) => look(*slot),
                    Some(Bucket::Many(many)) => many.each(facts, &mut look),
                    None => {}
                }
            }
        }
        (passed, looked_at)
    }

    fn scopes_of(facts: &Facts) -> Vec<Scope> {
        match facts.tenant_id {
            Some(tenant_id) => vec![Scope::Line(tenant_id)],
            None => vec![Scope::Chains, Scope::Registry(facts.registry.as_str().into())],
        }
    }

    fn scope(&mut self, rule: &Rule) -> u32 {
        let scope = match rule.registry.as_deref() {
            Some(LINE) => Scope::Line(rule.tenant_id),
            Some(registry) => Scope::Registry(registry.into()),
            None => Scope::Chains,
        };
        let next = u32::try_from(self.shapes.len()).unwrap_or(u32::MAX);
        let scope = *self.scopes.entry(scope).or_insert(next);
        if scope == next {
            self.shapes.push(Vec::new());
        }
        scope
    }

    fn file(&mut self, scope: u32, rule: &Rule, slot: u32) -> Box<[Filed]> {
        let chain =
            rule.chain_id.and_then(|chain_id| Decimal::parse(&chain_id.to_string())).map(Expected::Number);
        let mut filed = Vec::new();
        for mut way in ways(&rule.conditions) {
            if let Some(chain) = &chain {
                way.equals.push(Equal { field: "chain_id", form: Form::Number, values: vec![chain] });
            }
            let shape = self.shape(scope, &mut way);
            let bound = way.bounds.first().map(|bound| {
                let Bound { field, at_least, number } = bound;
                Box::new((Box::from(*field), *at_least, (*number).clone()))
            });
            for values in self.combinations(&way.equals) {
                let place = Filed { shape, values, bound: bound.clone() };
                let shapes = self.shapes.get_mut(scope as usize);
                if let Some(shape) = shapes.and_then(|shapes| shapes.get_mut(shape as usize)) {
                    shape.put(&place, slot);
                }
                filed.push(place);
            }
        }
        filed.into()
    }

    /// The shape of a way, whose equalities are cut down to those of the shape.
    fn shape(&mut self, scope: u32, way: &mut Way<'_>) -> u32 {
        // The fewest values first; of fields that are named twice one is enough.
        way.equals.sort_by_key(|equal| (equal.values.len(), u8::MAX - selectivity(equal.field)));
        let mut places = 1;
        let mut kept: Vec<Equal<'_>> = Vec::new();
        for equal in way.equals.drain(..) {
            let fits = places * equal.values.len() <= PLACES_MAX || kept.is_empty();
            if fits && !kept.iter().any(|known| known.field == equal.field) {
                places *= equal.values.len();
                kept.push(equal);
            }
        }
        kept.sort_by(|left, right| (left.field, left.form).cmp(&(right.field, right.form)));
        let Some(shapes) = self.shapes.get_mut(scope as usize) else { return 0 };
        loop {
            let same = |shape: &Shape| {
                shape.fields.len() == kept.len()
                    && shape
                        .fields
                        .iter()
                        .zip(&kept)
                        .all(|(field, equal)| (&*field.0, field.1) == (equal.field, equal.form))
            };
            let max = match kept.len() {
                0 => usize::MAX,
                1 => NARROW_SHAPES_MAX,
                _ => SHAPES_MAX,
            };
            let found = shapes.iter().position(same);
            if found.is_none() && shapes.len() >= max {
                // One field is left of several, none of one.
                let best = kept.iter().max_by_key(|equal| selectivity(equal.field)).cloned();
                kept = if kept.len() > 1 { best.into_iter().collect() } else { Vec::new() };
                continue;
            }
            let place = found.unwrap_or_else(|| {
                let fields = kept.iter().map(|equal| (equal.field.into(), equal.form)).collect();
                shapes.push(Shape { fields, buckets: HashMap::default() });
                shapes.len() - 1
            });
            // The caller's lifetime is that of the rule, which these have.
            way.equals = kept;
            return u32::try_from(place).unwrap_or(u32::MAX);
        }
    }

    /// A name for each combination of values.
    fn combinations(&self, equals: &[Equal<'_>]) -> Vec<u64> {
        let mut hashers = vec![self.hashing.build_hasher()];
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

    /// The name of the values that an event has in a shape's fields; none if it lacks one.
    fn values_of(&self, shape: &Shape, facts: &Facts) -> Option<u64> {
        let mut hasher = self.hashing.build_hasher();
        for (field, form) in &shape.fields {
            let value = facts.get(field)?;
            match form {
                Form::Number => name_number(&mut hasher, &number(value)?),
                Form::Text => name_text(&mut hasher, value.as_str()?),
                Form::Flag => hasher.write_u8(u8::from(value.as_bool()?)),
            }
        }
        Some(hasher.finish())
    }
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

impl Shape {
    fn put(&mut self, place: &Filed, slot: u32) {
        if place.bound.is_none() && !self.buckets.contains_key(&place.values) {
            self.buckets.insert(place.values, Bucket::One(slot));
            return;
        }
        let bucket = self.buckets.entry(place.values).or_insert_with(|| Bucket::Many(Box::default()));
        if let Bucket::One(other) = bucket {
            *bucket = Bucket::Many(Box::new(Many { plain: vec![*other], bounds: Vec::new() }));
        }
        let Bucket::Many(many) = bucket else { return };
        let Some(bound) = &place.bound else {
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

    fn take(&mut self, place: &Filed, slot: u32) {
        let Some(bucket) = self.buckets.get_mut(&place.values) else { return };
        let is_empty = match bucket {
            Bucket::One(_) => true,
            Bucket::Many(many) => {
                many.take(place, slot);
                many.plain.is_empty() && many.bounds.is_empty()
            }
        };
        if is_empty {
            self.buckets.remove(&place.values);
        }
    }
}

impl Many {
    fn take(&mut self, place: &Filed, slot: u32) {
        let Some(bound) = &place.bound else {
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

    fn each(&self, facts: &Facts, look: &mut impl FnMut(u32)) {
        self.plain.iter().for_each(|slot| look(*slot));
        for bounds in &self.bounds {
            let Some(actual) = facts.get(&bounds.field).and_then(number) else { continue };
            // Bounds that are just met are candidates of either kind.
            let met = if bounds.at_least {
                bounds.by_number.range(..=actual)
            } else {
                bounds.by_number.range(actual..)
            };
            met.flat_map(|(_, slots)| slots).for_each(|slot| look(*slot));
        }
    }
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
