//! All enabled triggers, found by what an event has: the cost of an event grows with its matches.
//!
//! A trigger is filed under the values that its equalities ask for, and within these by one bound. Triggers that ask
//! for the same fields share a shape, and an event is looked up once a shape. What is found is only a candidate.

use std::collections::HashMap;
use std::hash::RandomState;
use std::hint::black_box;
use std::sync::Arc;

use bowline_types::TenantId;
use uuid::Uuid;

use super::LINE;
use super::decimal::Decimal;
use super::facts::Facts;
use super::fields::selectivity;
use super::node::Expected;
use super::paths::{Bound, Equal, Form, IndexPath, index_paths};
use super::shape::{IndexEntry, Shape, combinations};
use super::trigger::Rule;

/// Shapes of one scope at most; a trigger that would need one more is filed under one field.
const SHAPES_MAX: usize = 64;

/// Shapes of one field each at most, beyond [`SHAPES_MAX`]; a trigger that would need one more is filed under nothing.
const NARROW_SHAPES_MAX: usize = 128;

/// Places that combinations of listed values take at most.
const PLACES_MAX: usize = 64;

/// Shapes that an event has names in, mostly.
const NAMES: usize = 32;

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

#[derive(Debug)]
struct Slot {
    rule: Arc<Rule>,
    scope: u32,
    entries: Box<[IndexEntry]>,
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

/// Buffer for the slots that a look-up visits; one a caller.
#[derive(Debug, Default)]
pub(crate) struct VisitedSlots {
    slots: Vec<u32>,
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
        let entries = self.file(scope, &rule, slot);
        self.by_id.insert(rule.trigger_id, slot);
        self.stateful += usize::from(rule.is_stateful);
        if rule.registry.as_deref() == Some(LINE) {
            *self.lines.entry(rule.tenant_id).or_default() += 1;
        }
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(Slot { rule, scope, entries });
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
        for entry in &found.entries {
            let shapes = self.shapes.get_mut(found.scope as usize);
            if let Some(shape) = shapes.and_then(|shapes| shapes.get_mut(entry.shape as usize)) {
                shape.take(entry, slot);
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
        self.by_id.is_empty() && self.stateful == 0 && self.shapes.iter().flatten().all(Shape::is_bare)
    }

    /// The triggers that an event passes, and how many were looked at.
    pub(crate) fn passed(&self, facts: &Facts, visited: &mut VisitedSlots) -> (Vec<Arc<Rule>>, usize) {
        let slots = &mut visited.slots;
        slots.clear();
        // Of many triggers none is in a cache, and waiting for one after the other is what takes the time. So all names
        // are made first, and then what they lead to is read without anything in between: it comes together.
        let mut names = Vec::with_capacity(NAMES);
        for scope in Self::scopes_of(facts) {
            let shapes = self.scopes.get(&scope).and_then(|scope| self.shapes.get(*scope as usize));
            let named = shapes.into_iter().flatten();
            names.extend(named.filter_map(|shape| Some((shape, shape.values_of(&self.hashing, facts)?))));
        }
        names.into_iter().for_each(|(shape, values)| shape.find(values, facts, slots));
        // Several paths may lead to one trigger.
        slots.sort_unstable();
        slots.dedup();
        let rules = || {
            let found = slots.iter().filter_map(|slot| self.slots.get(*slot as usize)?.as_ref());
            found.map(|slot| &slot.rule)
        };
        black_box(rules().fold(0, |sum, rule| sum ^ rule.created_at.micros()));
        black_box(rules().flat_map(|rule| &rule.conditions).fold(0, |sum, node| sum ^ node.touch()));
        let passed = rules().filter(|rule| rule.passes(facts)).map(Arc::clone).collect();
        (passed, slots.len())
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

    fn file(&mut self, scope: u32, rule: &Rule, slot: u32) -> Box<[IndexEntry]> {
        let chain =
            rule.chain_id.and_then(|chain_id| Decimal::parse(&chain_id.to_string())).map(Expected::Number);
        let mut entries = Vec::new();
        for mut path in index_paths(&rule.conditions) {
            if let Some(chain) = &chain {
                path.equals.push(Equal { field: "chain_id", form: Form::Number, values: vec![chain] });
            }
            let shape = self.shape(scope, &mut path);
            let bound = path.bounds.first().map(|bound| {
                let Bound { field, at_least, number } = bound;
                Box::new((Box::from(*field), *at_least, (*number).clone()))
            });
            for values in combinations(&self.hashing, &path.equals) {
                let entry = IndexEntry { shape, values, bound: bound.clone() };
                let shapes = self.shapes.get_mut(scope as usize);
                if let Some(shape) = shapes.and_then(|shapes| shapes.get_mut(shape as usize)) {
                    shape.put(&entry, slot);
                }
                entries.push(entry);
            }
        }
        entries.into()
    }

    /// The shape of a path, whose equalities are cut down to those of the shape.
    fn shape(&mut self, scope: u32, path: &mut IndexPath<'_>) -> u32 {
        // The fewest values first; of fields that are named twice one is enough.
        path.equals.sort_by_key(|equal| (equal.values.len(), u8::MAX - selectivity(equal.field)));
        let mut places = 1;
        let mut kept: Vec<Equal<'_>> = Vec::new();
        for equal in path.equals.drain(..) {
            let fits = places * equal.values.len() <= PLACES_MAX || kept.is_empty();
            if fits && !kept.iter().any(|known| known.field == equal.field) {
                places *= equal.values.len();
                kept.push(equal);
            }
        }
        kept.sort_by(|left, right| (left.field, left.form).cmp(&(right.field, right.form)));
        let Some(shapes) = self.shapes.get_mut(scope as usize) else { return 0 };
        loop {
            let max = match kept.len() {
                0 => usize::MAX,
                1 => NARROW_SHAPES_MAX,
                _ => SHAPES_MAX,
            };
            let found = shapes.iter().position(|shape| shape.is_of(&kept));
            if found.is_none() && shapes.len() >= max {
                // One field is left of several, none of one.
                let best = kept.iter().max_by_key(|equal| selectivity(equal.field)).cloned();
                kept = if kept.len() > 1 { best.into_iter().collect() } else { Vec::new() };
                continue;
            }
            let place = found.unwrap_or_else(|| {
                shapes.push(Shape::new(&kept));
                shapes.len() - 1
            });
            // The caller's lifetime is that of the rule, which these have.
            path.equals = kept;
            return u32::try_from(place).unwrap_or(u32::MAX);
        }
    }
}
