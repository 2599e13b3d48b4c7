# The story of a load balancer: one service, four controls with servers of different kinds, and a client that never stops
# asking. Sourced by tools/demo.

readonly DIR=/run/l2demo-balance PREFIX=l2balance
readonly CLIENT=$PREFIX-client RELAY=$PREFIX-relay SEGMENT=$PREFIX-segment
readonly CONTROLS=(control1 control2 control3 control4)
readonly NAMESPACES=("${CONTROLS[@]/#/$PREFIX-}" "$RELAY" "$CLIENT" "$SEGMENT")
readonly DARK_MS=3000           # longer than this no client may go unserved when a machine dies

COMMANDS+=(ss:iproute2 nginx:nginx-light haproxy:haproxy dnsmasq:dnsmasq-base dig:bind9-dnsutils python3:python3)

tell() {
    show_machines
    show_configuration
    start_daemons
    servers_come
    names_are_shared
    weigh
    restart_all
    reload_nginx
    nothing_failed
    kill_server
    kill_machine
    end_load
}

left_up() {
    cat <<TEXT
    ip netns exec $CLIENT curl http://192.0.2.1/
    ip netns exec $PREFIX-control1 bash          start a server, any
    $(command -v l2ctl) --socket $DIR/relay.sock show rules
TEXT
}

# ---------------------------------------------------------------------------------------------------------------------------
# The machines

show_machines() {
    title "One relay with the network port, four controls on its segment"
    cat <<'PICTURE'

    client                relay               ┌── control1   nginx
    192.0.2.2 ──── eth1 192.0.2.1             ├── control2   haproxy
                             lan0 ════════════┼── control3   Python's http.server
                         raw Ethernet         └── control4   nginx

PICTURE
    say "No machine but the relay has an address, and nobody has a list of the servers."
    mkdir -p $DIR
    local name
    for name in "${NAMESPACES[@]}"; do
        ip netns add "$name"
        ip -n "$name" link set lo up
        ip netns exec "$name" sysctl -qw net.ipv6.conf.default.accept_dad=0
    done
    ip -n $RELAY link add eth1 type veth peer name eth0 netns $CLIENT
    ip -n $CLIENT addr add 192.0.2.2/24 dev eth0
    ip -n $RELAY addr add 192.0.2.1/24 dev eth1
    ip -n $CLIENT link set eth0 up
    ip -n $RELAY link set eth1 up
    ip -n $SEGMENT link add br0 type bridge
    ip -n $SEGMENT link set br0 up
    for name in relay "${CONTROLS[@]}"; do
        ip -n $SEGMENT link add "$name" type veth peer name lan0 netns "$PREFIX-$name"
        ip -n $SEGMENT link set "$name" master br0 up
        ip -n "$PREFIX-$name" link set lan0 up
        # As on a cable: every frame has its final size and checksum.
        ip netns exec $SEGMENT ethtool -K "$name" tx off rx off tso off gso off gro off > /dev/null
        ip netns exec "$PREFIX-$name" ethtool -K lan0 tx off rx off tso off gso off gro off > /dev/null
    done
}

show_configuration() {
    title "Their configuration: the controls differ in nothing but their names"
    (umask 077 && head -c 32 /dev/urandom | base64 > $DIR/psk)
    configuration relay1 relay > $DIR/relay.toml
    cat >> $DIR/relay.toml <<TOML
[[port]]
interface = "eth1"
[[port.allow]]
control = "*"
services = ["tcp/80", "udp/53", "tcp/53"]
TOML
    local name
    for name in "${CONTROLS[@]}"; do
        configuration "$name" "$name" > "$DIR/$name.toml"
        cat >> "$DIR/$name.toml" <<TOML
[[symbol]]
kind = "interface"
relay = "relay1"
port = "eth1"
TOML
    done
    paste -d '|' <(echo relay.toml; echo; cat $DIR/relay.toml) <(echo control1.toml; echo; cat $DIR/control1.toml) \
        | awk -F '|' '{ printf "    %-42s%s\n", $1, $2 }'
}

# Arguments: name of the device, of its socket
configuration() {
    printf 'name = "%s"\n[link]\ninterface = "lan0"\npsk_file = "psk"\n[api]\nsocket = "%s"\n' "$1" "$DIR/$2.sock"
}

start_daemons() {
    title "The daemons start, and find each other"
    spawn $RELAY l2relay l2relay --config $DIR/relay.toml
    local name
    for name in "${CONTROLS[@]}"; do
        spawn "$PREFIX-$name" "l2$name" l2control --config "$DIR/$name.toml"
        daemons[$name]=$!
    done
    for name in "${CONTROLS[@]}"; do
        await "the symbol of $name to come up" symbol_is_up "$name"
    done
    run relay l2ctl --socket $DIR/relay.sock show peers
}

symbol_is_up() {
    l2ctl --socket "$DIR/$1.sock" show symbols --json 2> /dev/null | grep -q '"state": "up"'
}

# ---------------------------------------------------------------------------------------------------------------------------
# What happens to the servers

servers_come() {
    title "Servers come, and a client asks all the time: a new connection for every page"
    write_configurations
    start control1
    spawn $CLIENT load python3 -c "$LOAD" $DIR/load
    load=$!
    await "the first answers" load_has 20
    who_gets_what
    local name
    for name in control2 control3 control4; do
        start "$name"
        await "the rule for the server on $name" has_rules tcp 80 "${name#control}"
        who_gets_what
    done
    expect_serving 4
}

names_are_shared() {
    title "dnsmasq on two of them, by UDP"
    local name
    for name in control3 control4; do
        shown "$name" "dnsmasq --address=/l2.test/198.51.100.7"
        spawn "$PREFIX-$name" "dnsmasq-$name" dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts \
            --user=root --pid-file= --log-facility=- --address=/l2.test/198.51.100.7
    done
    await "the rules for dnsmasq" has_rules udp 53 2
    local i
    shown client "dig +short @192.0.2.1 l2.test       # 40 times"
    for i in {1..40}; do
        [[ $(ip netns exec $CLIENT dig +short +time=2 +tries=1 @192.0.2.1 l2.test) == 198.51.100.7 ]] \
            || fail "query $i was not answered"
    done
    l2ctl --socket $DIR/relay.sock show tunnels --json | python3 -c "$PACKETS" udp 53 | tee $DIR/queries | indent
    [[ $(wc -l < $DIR/queries) -eq 2 ]] || fail "one of two servers got all queries"
}

weigh() {
    title "Python is slow: control3 is to get a quarter of what the others get"
    weight control3 25
    who_gets_what
    weight control3 100
}

restart_all() {
    title "All four servers are restarted, one after the other"
    local name
    for name in "${CONTROLS[@]}"; do
        weight "$name" 0
        nap 0.2
        stop "$name"
        start "$name"
        weight "$name" 100
        await "all four to serve" has_rules tcp 80 4
    done
    who_gets_what
    expect_serving 4
}

reload_nginx() {
    title "nginx reloads, ten times on two machines"
    shown control1 "nginx -s reload"
    local _
    for _ in {1..10}; do
        kill -HUP "${servers[control1]}" "${servers[control4]}"
        nap 0.1
    done
}

nothing_failed() {
    title "How many of the client's requests have failed so far"
    local asked failures
    asked=$(cat $DIR/load.count)
    failures=$(wc -l < $DIR/load.failed)
    say "Failed requests: $failures of $asked."
    [[ $failures -eq 0 ]] || fail "these failed: $(head -n 5 $DIR/load.failed)"
    [[ $asked -gt 1000 ]] || fail "only $asked requests"
}

kill_server() {
    title "kill -9 of a server"
    shown control2 "kill -9 haproxy"
    disaster
    kill -9 "${servers[control2]}"
    await "its rule to go" has_rules tcp 80 3
    nap 0.2
    who_gets_what
    dark
    start control2
}

kill_machine() {
    title "A machine dies: control4 falls silent"
    shown control4 "# the power fails"
    disaster
    ip -n $SEGMENT link set control4 down
    await "its peer to be missed" peer_is_down control4
    nap 0.2
    who_gets_what
    dark
    expect_serving 3
    say "The power comes back:"
    ip -n $SEGMENT link set control4 up
    await "control4 to serve again" has_rules tcp 80 4
    who_gets_what
    expect_serving 4
}

end_load() {
    title "The end of the load"
    kill "$load"
    await "the client to end" ended_process "$load"
    say "$(cat $DIR/load.count) requests, $(wc -l < $DIR/load.failed) of which failed, in the two disasters only."
}

# ---------------------------------------------------------------------------------------------------------------------------
# Servers

declare -A servers=() daemons=()

write_configurations() {
    local name
    for name in "${CONTROLS[@]}"; do
        mkdir -p "$DIR/$name"
        echo "$name" > "$DIR/$name/index.html"
    done
    for name in control1 control4; do
        cat > "$DIR/$name.conf" <<NGINX
user root; daemon off; worker_processes 1; pid $DIR/$name.pid; error_log stderr;
events {}
http {
    access_log off; keepalive_timeout 0;
    client_body_temp_path $DIR/tmp; proxy_temp_path $DIR/tmp; fastcgi_temp_path $DIR/tmp;
    uwsgi_temp_path $DIR/tmp; scgi_temp_path $DIR/tmp;
    server { listen 80; root $DIR/$name; }
}
NGINX
    done
    cat > $DIR/haproxy.conf <<HAPROXY
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend www
    bind *:80
    http-request return status 200 content-type text/plain string "control2\n"
HAPROXY
}

# Starts a control's server, and waits until it listens.
start() {
    local name=$1
    case $name in
        control1 | control4)
            shown "$name" "nginx -c nginx.conf"
            spawn "$PREFIX-$name" "$name" nginx -e stderr -c "$DIR/$name.conf"
            ;;
        control2)
            shown "$name" "haproxy -f haproxy.conf"
            spawn "$PREFIX-$name" "$name" haproxy -db -f $DIR/haproxy.conf
            ;;
        control3)
            shown "$name" "python3 -m http.server 80"
            spawn "$PREFIX-$name" "$name" python3 -m http.server 80 --directory "$DIR/$name"
            ;;
    esac
    servers[$name]=$!
    await "the server on $name to listen" listens "$name"
}

# Ends a control's server in order.
stop() {
    local name=$1 signal
    case $name in
        control1 | control4) signal=QUIT; shown "$name" "nginx -s quit" ;;
        control2) signal=USR1; shown "$name" "kill -USR1 haproxy     # finish, then end" ;;
        control3) signal=TERM; shown "$name" "kill python3" ;;
    esac
    kill -$signal "${servers[$name]}"
    await "the server on $name to end" ended_process "${servers[$name]}"
}

listens() {
    [[ -n $(ip netns exec "$PREFIX-$1" ss -Hltn sport = :80) ]]
}

weight() {
    run relay l2ctl --socket $DIR/relay.sock peer weight "$1" "$2"
}

# Controls with a rule for a port's listeners by which they get new flows. Arguments: protocol, port
count_rules() {
    l2ctl --socket $DIR/relay.sock show rules --json | python3 -c "$RULES" "$1" "$2"
}

has_rules() {
    [[ $(count_rules "$1" "$2") -eq $3 ]]
}

peer_is_down() {
    l2ctl --socket $DIR/relay.sock show peers | grep -q "^$1 .* down"
}

ended_process() {
    ! kill -0 "$1" 2> /dev/null
}

RULES='
import json, sys
protocol, port = sys.argv[1], int(sys.argv[2])
print(len({rule["control"] for rule in json.load(sys.stdin)
           if (rule["protocol"], rule["port_number"], rule["remote"]) == (protocol, port, None)
           and rule["state"] == "active"}))
'

# ---------------------------------------------------------------------------------------------------------------------------
# Who gets what

# Shows the packets that the relay sends up to each control within half a second.
who_gets_what() {
    {
        l2ctl --socket $DIR/relay.sock show tunnels --json
        sleep 0.5
        l2ctl --socket $DIR/relay.sock show tunnels --json
    } | python3 -c "$SHARES" > $DIR/shares
    indent < $DIR/shares
}

# The last table has so many controls that get something.
expect_serving() {
    [[ $(grep -c '#' $DIR/shares) -eq $1 ]] || fail "$1 servers should have had traffic"
}

SHARES='
import collections, json, sys
decoder, text = json.JSONDecoder(), sys.stdin.read()
def table(start):
    rows, end = decoder.raw_decode(text, start)
    counts = collections.Counter()
    for row in rows:
        if row["direction"] == "up" and (row["protocol_address"] or "").startswith("tcp "):
            counts[row["peer"]] += row["packets"]
    return counts, end
before, end = table(0)
after, _ = table(text.index("[", end))
gained = {name: max(0, after[name] - before.get(name, 0)) for name in after}
total = sum(gained.values()) or 1
for number in range(1, 5):
    name = f"control{number}"
    packets = gained.get(name, 0)
    share = packets / total
    print(f"{name}  {2 * packets:7,} packets/s  {share:4.0%}  " + "#" * (round(40 * share) or packets > 0))
'

PACKETS='
import json, sys
protocol, port = sys.argv[1:]
for row in json.load(sys.stdin):
    address = row["protocol_address"] or ""
    if row["packets"] and address.startswith(f"{protocol} ") and f":{port}" in address:
        print(row["peer"], "got", row["packets"], "queries")
'

# ---------------------------------------------------------------------------------------------------------------------------
# The client

load_has() {
    [[ -s $DIR/load.count && $(cat $DIR/load.count) -gt $1 ]]
}

disaster() {
    since=$(now_ms)
    failed_before=$(wc -l < $DIR/load.failed)
}

# Says for how long requests failed after the disaster.
dark() {
    local last
    nap 0.8
    last=$(tail -n +$((failed_before + 1)) $DIR/load.failed | cut -d ' ' -f 1 | sort -n | tail -n 1)
    if [[ -z $last ]]; then
        say "No request failed."
        return
    fi
    say "$(($(wc -l < $DIR/load.failed) - failed_before)) requests failed, the last of them begun $((last - since)) ms after it."
    [[ $((last - since)) -lt $DARK_MS ]] || fail "clients were not served for $((last - since)) ms"
}

# Asks for pages by a new connection each, four at a time. FILE.count has how many were answered, FILE.failed a line for each
# that was not: when it was begun in ms, and why.
LOAD='
import os, signal, socket, sys, threading, time
path = sys.argv[1]
answered, failed = [0] * 4, open(path + ".failed", "w", buffering=1)
def ask(thread):
    while True:
        begun = time.time()
        try:
            with socket.create_connection(("192.0.2.1", 80), 0.7) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                page = b""
                while data := client.recv(4096):
                    page += data
            if b" 200 " not in page[:20] or not page.endswith(b"\n"):
                raise OSError(f"an odd answer: {page}")
            answered[thread] += 1
        except OSError as error:
            failed.write(f"{round(begun * 1000)} {error}\n")
        time.sleep(0.002)
def write():
    with open(path + ".new", "w") as file:
        print(sum(answered), file=file)
    os.rename(path + ".new", path + ".count")
def end(*_):
    write()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
for thread in range(4):
    threading.Thread(target=ask, args=(thread,), daemon=True).start()
while True:
    write()
    time.sleep(0.05)
'
