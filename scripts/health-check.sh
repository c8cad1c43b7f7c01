#!/usr/bin/env bash
# The health of the whole system in seven checks: exit 0 if all is well, 1 if not. `--json` for machines.
#
# It is a thin wrapper of `bowline doctor`, which knows more and names the command that mends it. With a compose stack it
# asks inside the stack; without one, the processes of this machine, by the environment of the nodes (.env if there is one):
# BOWLINE_URL, DATABASE_URL, REDIS_URL, BOWLINE_API_KEY, INDEXER_STATUS_URL, and BOWLINE_LOG, the event processor's log file.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

json=false
case "${1:-}" in
    --json) json=true ;;
    "") ;;
    *) echo "usage: $0 [--json]" >&2; exit 2 ;;
esac

SERVICES="postgres redis api-gateway event-processor action-workers ponder-indexers"
CHECKS="health ready migrations redis indexer_lag indexer_endpoints matching queue_depth"
QUEUE_MAX=1000

running=""
if command -v docker >/dev/null; then
    running=$(docker compose ps --services --status running 2>/dev/null || true)
fi
if [ -z "$running" ] && [ -f .env ] && [ -z "${DATABASE_URL:-}${BOWLINE_DATA:-}" ]; then
    set -a
    # shellcheck disable=SC1091
    . ./.env
    set +a
fi
url=${BOWLINE_URL:-http://127.0.0.1:8080}

doctor() {
    local words="" check
    for check in $CHECKS; do words="$words --check $check"; done
    if [ -n "$running" ]; then
        # shellcheck disable=SC2016
        docker compose exec -T -e INDEXER_STATUS_URL=http://ponder-indexers:42069 api-gateway \
            sh -c 'BOWLINE_API_KEY=$BOOTSTRAP_ADMIN_API_KEY exec bowline doctor '"$words"
    else
        # shellcheck disable=SC2086
        BOWLINE_API_KEY=${BOWLINE_API_KEY:-${BOOTSTRAP_ADMIN_API_KEY:-}} bowline doctor $words
    fi 2>&1
}
said=$(doctor)

# Status and sentence of one of the doctor's checks.
status_of() { awk -v check="$1" '$2 == check { print tolower($1); exit }' <<<"$said"; }
cause_of() { awk -v check="$1" '$2 == check { $1 = ""; $2 = ""; sub(/^ +/, ""); print; exit }' <<<"$said"; }

names=() states=() details=()
tell() { names+=("$1"); states+=("$2"); details+=("$3"); }

# One check that is well if all of these of the doctor are. What there is nothing of is well; what could not be seen,
# because there is no database to ask, is not.
ask() {
    local name=$1 state=ok detail="" check
    shift
    for check in "$@"; do
        case "$(status_of "$check")" in
            ok) [ -n "$detail" ] || detail=$(cause_of "$check") ;;
            skipped)
                [ -n "$detail" ] || detail=$(cause_of "$check")
                if [ "$check" != redis ] && [ "$(status_of migrations)" != ok ]; then state=fail; fi
                ;;
            warn | fail) state=fail; detail=$(cause_of "$check") ;;
            *) state=fail; detail="the doctor did not look: $(head -n 1 <<<"$said")" ;;
        esac
        [ $state = ok ] || break
    done
    tell "$name" $state "$detail"
}

# 1. What must run runs.
if [ -n "$running" ]; then
    missing=""
    for service in $SERVICES; do
        grep -qx "$service" <<<"$running" || missing="$missing $service"
    done
    if [ -z "$missing" ]; then
        tell "services" ok "all six run"
    else
        tell "services" fail "not running:$missing"
    fi
else
    count=$(pgrep -fc 'bowline serve' || true)
    if [ "${count:-0}" -gt 0 ]; then
        tell "services" ok "$count processes of bowline run"
    else
        tell "services" fail "no process of bowline runs"
    fi
fi

# 2. to 4. PostgreSQL (or the embedded store) with its schema, Redis, the gateway.
ask "database" migrations
ask "redis" redis
if answer=$(curl --fail --silent --max-time 3 "$url/api/v1/health"); then
    tell "gateway" ok "$answer"
else
    tell "gateway" fail "$url/api/v1/health: ${answer:-no answer with 200}"
fi

# 5. The event processor says no error.
errors=""
if [ -n "$running" ]; then
    errors=$(docker compose logs --no-log-prefix --since 5m event-processor 2>/dev/null | grep -cE 'ERROR|"level":"error"' || true)
elif [ -n "${BOWLINE_LOG:-}" ]; then
    since=$(date -u -d '5 minutes ago' +%Y-%m-%dT%H:%M:%S)
    # A line begins with its time, or is an object that has it.
    errors=$(grep -E 'ERROR|"level":"error"' "$BOWLINE_LOG" | grep -oE '[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}' |
        awk -v since="$since" '$0 >= since' | wc -l || true)
elif command -v journalctl >/dev/null && journalctl -q -n 1 -u bowline-event-processor 2>/dev/null | grep -q .; then
    errors=$(journalctl -q -u bowline-event-processor --since '-5min' 2>/dev/null | grep -cE 'ERROR|"level":"error"' || true)
fi
case "$errors" in
    "") ask "event-processor" matching ;;
    0) ask "event-processor" matching ;;
    *) tell "event-processor" fail "$errors errors in the log of the last 5 minutes" ;;
esac

# 6. and 7. The chains, and the queue.
ask "indexer" indexer_lag indexer_endpoints
depth=$(sed -n 's/^ *jobs that wait: \([0-9]*\).*/\1/p' <<<"$said" | head -n 1)
if [ -z "$depth" ]; then
    ask "queue" queue_depth
elif [ "$depth" -lt $QUEUE_MAX ]; then
    tell "queue" ok "$depth jobs wait"
else
    tell "queue" fail "$depth jobs wait (should be < $QUEUE_MAX)"
fi

failed=0
rows=""
for at in "${!names[@]}"; do
    [ "${states[$at]}" = ok ] || failed=$((failed + 1))
    if $json; then
        detail=$(tr -d '\000-\037' <<<"${details[$at]}" | sed 's/["\\]/\\&/g')
        rows="$rows${rows:+,}{\"check\":\"${names[$at]}\",\"status\":\"${states[$at]}\",\"detail\":\"$detail\"}"
    else
        printf '%-6s%-18s%s\n' "${states[$at]}" "${names[$at]}" "${details[$at]}"
    fi
done
overall=healthy
[ $failed -eq 0 ] || overall=unhealthy
if $json; then
    printf '{"status":"%s","checks":[%s]}\n' "$overall" "$rows"
else
    echo "$overall: ${#names[@]} checks, $failed failed"
    [ $failed -eq 0 ] || echo "what to do: bowline doctor"
fi
[ $failed -eq 0 ]
