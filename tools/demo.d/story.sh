# What a story is told with: words, commands shown and run, waiting, and the end of it all. Sourced by tools/demo.
#
# A story defines PREFIX, before the names of its machines' namespaces; NAMESPACES, all of them; DIR, for its files; `tell`;
# `left_up`, which says what to play with; and adds to COMMANDS what it needs.

readonly DEADLINE_S=15          # until this everything that should happen by itself has happened

if [[ -t 1 ]]; then
    readonly BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
    readonly BOLD="" DIM="" RED="" PLAIN=""
fi
chapter=0

title() {
    chapter=$((chapter + 1))
    printf '\n%s%d  %s%s\n' "$BOLD" $chapter "$1" "$PLAIN"
}

say() {
    printf '    %s\n' "$*"
}

# A command as it would be typed. Arguments: machine, text
shown() {
    printf '    %s%s$ %s%s\n' "$DIM" "$1" "$2" "$PLAIN"
}

# Shows a command and runs it on a machine. Arguments: machine, command
run() {
    show_and_run "$@" || fail "on the $1: ${*:2}"
}

# The same for a command that must not succeed.
run_in_vain() {
    ! show_and_run "$@" || fail "on the $1, this should not have worked: ${*:2}"
}

show_and_run() {
    local machine=$1 text="" word
    shift
    for word in "$@"; do
        if [[ $word == *" "* ]]; then word="'$word'"; fi
        text+="$word "
    done
    # The sockets and files of the machines share one file system here; on machines of their own nobody needs to say which.
    text=${text//"--socket $DIR/$machine.sock "/}
    text=${text//"--vty_socket $DIR/$machine "/}
    text=${text//"$DIR/"/}
    text=${text/show_rules/l2ctl show rules}
    shown "$machine" "${text% }"
    if [[ $(type -t "$1") == function ]]; then
        "$@" 2>&1 | indent
    else
        ip netns exec "$PREFIX-$machine" "$@" 2>&1 | indent
    fi
}

indent() {
    sed 's/^/      /'
}

relay_has() {
    l2ctl --socket $DIR/relay.sock show "$1" --json 2> /dev/null | grep -q "$2"
}

control_has() {
    l2ctl --socket $DIR/control.sock show "$1" --json 2> /dev/null | grep -q "$2"
}

# Waits for a command to succeed. Arguments: what for, command
await() {
    local what=$1 end=$(($(now_ms) + DEADLINE_S * 1000))
    shift
    until "$@"; do
        [[ $(now_ms) -lt $end ]] || fail "waited $DEADLINE_S s in vain for $what"
        sleep 0.01
    done
}

now_ms() {
    local now=${EPOCHREALTIME/[.,]/}
    echo $((now / 1000))
}

# A pause that is part of the story, not a wait for something.
nap() {
    sleep "$1"
}

fail() {
    printf '\n    %sFAILED: %s%s\n' "$RED" "$*" "$PLAIN" >&2
    local log
    for log in $DIR/*.log; do
        [[ -s $log ]] || continue
        printf '    --- %s\n' "$log" >&2
        tail -n 30 "$log" | indent >&2
    done
    exit 1
}

# ---------------------------------------------------------------------------------------------------------------------------
# Processes and their end

# Starts a program on a machine, with its output in a log. Arguments: namespace, name of the log, command
spawn() {
    local namespace=$1 log=$DIR/$2.log
    shift 2
    setsid ip netns exec "$namespace" "$@" >> "$log" 2>&1 < /dev/null &
    disown $!
}

ended() {
    remove_all
    [[ $1 -ne 130 ]] || echo "Interrupted; everything is removed."
}

# Ends all that runs on the machines, daemons in order first, and removes them.
remove_all() {
    local name
    for name in "${NAMESPACES[@]}"; do
        [[ -e /run/netns/$name ]] || continue
        ip netns pids "$name" | xargs -r kill 2> /dev/null || true
    done
    for name in "${NAMESPACES[@]}"; do
        [[ -e /run/netns/$name ]] || continue
        for _ in {1..50}; do
            [[ -n $(ip netns pids "$name") ]] || break
            sleep 0.02
        done
        ip netns pids "$name" | xargs -r kill -9 2> /dev/null || true
        ip netns del "$name"
    done
    rm -rf $DIR
}
