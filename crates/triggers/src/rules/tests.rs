//! Rules against events: the index against looking at every trigger, and each kind of condition.
