//! The steps that Redis does whole: each is a script, so that no reader sees half of it.
//!
//! The list is kept by tag, and by priority among equal tags, the first one at its left end. The index says where each job is: in the list
//! (an empty text), or in the hands of the worker that it names.

use redis::Script;

/// The functions that other scripts begin with.
const ORDER: &str = r#"
local function place(entry)
    return tonumber(string.match(entry, '"priority":(-?%d+)') or '0'), tonumber(string.match(entry, '"tag":(%d+)') or '0')
end
local function goes_before(priority, tag, other)
    local other_priority, other_tag = place(other)
    return tag < other_tag or (tag == other_tag and priority > other_priority)
end
local function insert(list, entry)
    local priority, tag = place(entry)
    local count = redis.call('LLEN', list)
    if count == 0 or not goes_before(priority, tag, redis.call('LINDEX', list, -1)) then
        redis.call('RPUSH', list, entry)
        return
    end
    local low, high = 0, count - 1
    while low < high do
        local middle = math.floor((low + high) / 2)
        if goes_before(priority, tag, redis.call('LINDEX', list, middle)) then high = middle else low = middle + 1 end
    end
    redis.call('LINSERT', list, 'BEFORE', redis.call('LINDEX', list, low), entry)
end
"#;

/// KEYS list, index; ARGV channel, then an id and an entry for each job.
const PUSH: &str = r#"
local pushed = 0
for i = 2, #ARGV, 2 do
    if redis.call('HGET', KEYS[2], ARGV[i]) ~= '' then
        insert(KEYS[1], ARGV[i + 1])
        redis.call('HSET', KEYS[2], ARGV[i], '')
        pushed = pushed + 1
    end
end
if pushed > 0 then redis.call('PUBLISH', ARGV[1], pushed) end
return pushed
"#;

/// KEYS list, index, taken, alive, workers; ARGV worker, limit, milliseconds of a heartbeat. Entries that are none of
/// ours are dropped.
const TAKE: &str = r#"
redis.call('SET', KEYS[4], '1', 'PX', ARGV[3])
redis.call('SADD', KEYS[5], ARGV[1])
local entries = redis.call('LRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1)
redis.call('LTRIM', KEYS[1], #entries, -1)
local ids = {}
for _, entry in ipairs(entries) do
    local id = string.match(entry, '"id":"([^"]+)"')
    if id then
        redis.call('HSET', KEYS[3], id, entry)
        redis.call('HSET', KEYS[2], id, ARGV[1])
        ids[#ids + 1] = id
    end
end
return ids
"#;

/// KEYS index, taken; ARGV worker, then ids.
const SETTLE: &str = r#"
for i = 2, #ARGV do
    redis.call('HDEL', KEYS[2], ARGV[i])
    if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 0
"#;

/// KEYS list, index, taken, alive, workers; ARGV worker, channel, whether even of one that lives.
const RETURN: &str = r#"
if ARGV[3] == '0' and redis.call('EXISTS', KEYS[4]) == 1 then return 0 end
local taken = redis.call('HGETALL', KEYS[3])
local returned = 0
for i = 1, #taken, 2 do
    if redis.call('HGET', KEYS[2], taken[i]) == ARGV[1] then
        insert(KEYS[1], taken[i + 1])
        redis.call('HSET', KEYS[2], taken[i], '')
        returned = returned + 1
    end
end
redis.call('DEL', KEYS[3])
if ARGV[3] == '0' then redis.call('SREM', KEYS[5], ARGV[1]) end
if returned > 0 then redis.call('PUBLISH', ARGV[2], returned) end
return returned
"#;

/// KEYS list, index; ARGV an id and an entry for each job that does not wait any more.
const DROP: &str = r#"
local dropped = 0
for i = 1, #ARGV, 2 do
    dropped = dropped + redis.call('LREM', KEYS[1], 0, ARGV[i + 1])
    if redis.call('HGET', KEYS[2], ARGV[i]) == '' then redis.call('HDEL', KEYS[2], ARGV[i]) end
end
return dropped
"#;

/// KEYS letters, their index; ARGV how many are kept, then an id and an entry for each.
const BURY: &str = r#"
for i = 2, #ARGV, 2 do
    local old = redis.call('HGET', KEYS[2], ARGV[i])
    if old then redis.call('LREM', KEYS[1], 0, old) end
    redis.call('RPUSH', KEYS[1], ARGV[i + 1])
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
while redis.call('LLEN', KEYS[1]) > tonumber(ARGV[1]) do
    local id = string.match(redis.call('LPOP', KEYS[1]), '"id":"([^"]+)"')
    if id then redis.call('HDEL', KEYS[2], id) end
end
return 0
"#;

/// KEYS letters, their index; ARGV ids.
const UNBURY: &str = r#"
for i = 1, #ARGV do
    local old = redis.call('HGET', KEYS[2], ARGV[i])
    if old then
        redis.call('LREM', KEYS[1], 0, old)
        redis.call('HDEL', KEYS[2], ARGV[i])
    end
end
return 0
"#;

/// KEYS marker, then all that is deleted if the marker is missing. Only one process finds it missing.
const START_OVER: &str = r#"
if not redis.call('SET', KEYS[1], '1', 'NX') then return 0 end
for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
return 1
"#;

/// Every script, with its hash.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) push: Script,
    pub(super) take: Script,
    pub(super) settle: Script,
    pub(super) give_back: Script,
    pub(super) drop: Script,
    pub(super) bury: Script,
    pub(super) unbury: Script,
    pub(super) start_over: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            push: Script::new(&format!("{ORDER}{PUSH}")),
            take: Script::new(TAKE),
            settle: Script::new(SETTLE),
            give_back: Script::new(&format!("{ORDER}{RETURN}")),
            drop: Script::new(DROP),
            bury: Script::new(BURY),
            unbury: Script::new(UNBURY),
            start_over: Script::new(START_OVER),
        }
    }
}
