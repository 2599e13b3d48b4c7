# The story of a server: three machines, an unmodified nginx on one of them, reached at the port of another. Sourced by
# tools/demo.

readonly DIR=/run/l2demo PREFIX=l2demo
readonly CLIENT=$PREFIX-client RELAY=$PREFIX-relay CONTROL=$PREFIX-control
readonly NAMESPACES=("$CLIENT" "$RELAY" "$CONTROL")
readonly STALL_MS=300           # a gap in the download that would count as a stall: the time to miss a dead peer

COMMANDS+=(nginx:nginx-light curl:curl python3:python3)

tell() {
    show_machines
    show_configuration
    start_daemons
    start_server
    ask_as_client
    stop_server
    renumber_under_download
}

left_up() {
    cat <<TEXT
    ip netns exec $CLIENT curl http://192.0.2.1/
    ip netns exec $CONTROL bash          start a server, any
    $(command -v l2ctl) --socket $DIR/relay.sock monitor
TEXT
}

show_machines() {
    title "Three machines, played by network namespaces"
    cat <<'PICTURE'

    client                relay                        control
    192.0.2.2 ──── eth1 192.0.2.1
                   lan0 10.9.0.1 ══════════ lan0 10.9.0.2
                           raw Ethernet, EtherType 0x88b5

PICTURE
    say "The relay has the network port. The control will have the web server."
    mkdir -p $DIR/www
    local name
    for name in "${NAMESPACES[@]}"; do
        ip netns add "$name"
        ip -n "$name" link set lo up
        ip netns exec "$name" sysctl -qw net.ipv6.conf.default.accept_dad=0
    done
    ip -n $RELAY link add eth1 type veth peer name eth0 netns $CLIENT
    ip -n $RELAY link add lan0 type veth peer name lan0 netns $CONTROL
    ip -n $CLIENT addr add 192.0.2.2/24 dev eth0
    ip -n $RELAY addr add 192.0.2.1/24 dev eth1
    ip -n $RELAY addr add 10.9.0.1/24 dev lan0
    ip -n $CONTROL addr add 10.9.0.2/24 dev lan0
    ip -n $CLIENT link set eth0 up
    ip -n $RELAY link set eth1 up
    for name in $RELAY $CONTROL; do
        ip -n "$name" link set lan0 up
        # As on a cable: every frame has its final size and checksum.
        ip netns exec "$name" ethtool -K lan0 tx off rx off tso off gso off gro off > /dev/null
    done
}

show_configuration() {
    title "Their configuration"
    (umask 077 && head -c 32 /dev/urandom | base64 > $DIR/psk)
    cat > $DIR/relay.toml <<TOML
name = "relay1"
[link]
interface = "lan0"
psk_file = "psk"
[api]
socket = "$DIR/relay.sock"
[[port]]
interface = "eth1"
[[port.allow]]
control = "control1"
services = ["tcp/*", "udp/*"]
TOML
    cat > $DIR/control.toml <<TOML
name = "control1"
[link]
interface = "lan0"
psk_file = "psk"
[api]
socket = "$DIR/control.sock"
[[symbol]]
kind = "interface"
relay = "relay1"
port = "eth1"
TOML
    paste -d '|' <(echo relay.toml; echo; cat $DIR/relay.toml) <(echo control.toml; echo; cat $DIR/control.toml) \
        | awk -F '|' '{ printf "    %-42s%s\n", $1, $2 }'
}

start_daemons() {
    title "Both daemons start, and find each other"
    spawn $RELAY relay l2relay --config $DIR/relay.toml
    spawn $CONTROL control l2control --config $DIR/control.toml
    await "the relay and the control to find each other" relay_has peers '"state": "up"'
    await "the symbol to come up" control_has symbols '"state": "up"'
    run relay l2ctl --socket $DIR/relay.sock show peers
    run control l2ctl --socket $DIR/control.sock show symbols
    say "The control has an interface eth1 now, with the address of the relay's port:"
    run control ip -brief -4 address show eth1
}

start_server() {
    title "An unmodified nginx starts on the control, and the relay gets a rule"
    write_nginx_configuration
    local since
    say "No rule before:"
    run relay show_rules
    start_nginx
    since=$(now_ms)
    await "the rule for nginx" has_rule
    say "nginx listens, and $(($(now_ms) - since)) ms after its start the rule is seen:"
    run relay show_rules
}

ask_as_client() {
    title "A client asks at the relay's port, and nginx sees the client's own address"
    run client curl -sS --max-time 5 http://192.0.2.1/
    say "nginx's access log on the control:"
    await "the client's address in nginx's log" grep -q '^192.0.2.2 ' $DIR/access.log
    run control tail -n 1 $DIR/access.log
}

stop_server() {
    title "nginx stops, and its rule goes"
    kill "$nginx"
    await "the rule to go" has_no_rule
    run relay show_rules
    say "The client gets no answer; the relay drops what nobody listens for:"
    run_in_vain client curl -sS --max-time 0.5 http://192.0.2.1/
}

renumber_under_download() {
    title "Every IP address between relay and control goes, under a running download"
    start_nginx
    await "the rule for nginx" has_rule
    ip netns exec $CLIENT curl -sS http://192.0.2.1/large 2> $DIR/curl.log \
        | python3 -c "$WATCH_GAPS" > $DIR/gaps &
    watcher=$!
    await "the download to begin" test -s $DIR/gaps
    say "The download runs. Now, four times over:"
    local round name
    for round in 20 21 22 23; do
        for name in $RELAY $CONTROL; do ip -n "$name" address flush dev lan0; done
        nap 0.3
        ip -n $RELAY address add 10.$round.0.1/24 dev lan0
        ip -n $CONTROL address add 10.$round.0.2/24 dev lan0
        say "  all addresses removed, then lan0 numbered 10.$round.0.1 and 10.$round.0.2"
        nap 0.3
    done
    for name in $RELAY $CONTROL; do ip -n "$name" address flush dev lan0; done
    say "  and all removed for good:"
    run control ip -brief address show lan0
    nap 0.3
    kill -0 "$watcher" 2> /dev/null || fail "the download broke off: $(cat $DIR/curl.log)"
    pids_named_curl | xargs -r kill
    wait "$watcher" || true
    local bytes gap
    read -r bytes gap < <(tail -n 1 $DIR/gaps)
    say "Downloaded meanwhile: $((bytes / 1000000)) MB. Longest gap: $gap ms."
    [[ $gap -lt $STALL_MS ]] || fail "the download stalled for $gap ms"
    say "The session never noticed:"
    run relay l2ctl --socket $DIR/relay.sock show peers
}

# ---------------------------------------------------------------------------------------------------------------------------
# nginx

write_nginx_configuration() {
    echo "Hello from the control." > $DIR/www/index.html
    truncate -s 64G $DIR/www/large
    cat > $DIR/nginx.conf <<NGINX
user root; daemon off; worker_processes 1; pid $DIR/nginx.pid; error_log stderr;
events {}
http {
    access_log $DIR/access.log;
    client_body_temp_path $DIR/tmp; proxy_temp_path $DIR/tmp; fastcgi_temp_path $DIR/tmp;
    uwsgi_temp_path $DIR/tmp; scgi_temp_path $DIR/tmp;
    sendfile on;
    server { listen 80; root $DIR/www; }
}
NGINX
}

start_nginx() {
    shown control "nginx -c nginx.conf"
    spawn $CONTROL nginx nginx -e stderr -c $DIR/nginx.conf
    nginx=$!
}

show_rules() {
    l2ctl --socket $DIR/relay.sock show rules
}

has_rule() {
    relay_has rules '"port_number": 80' && relay_has rules '"state": "active"'
}

has_no_rule() {
    ! relay_has rules '"port_number": 80'
}

pids_named_curl() {
    local pid
    for pid in $(ip netns pids $CLIENT); do
        if [[ $(cat "/proc/$pid/comm" 2> /dev/null) == curl ]]; then echo "$pid"; fi
    done
}

# Reads its input to the end; prints the bytes read and the longest gap in ms, at the begin and at the end.
WATCH_GAPS='
import os, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
total = gap = 0
last = None
while data := os.read(0, 1 << 20):
    now = time.monotonic()
    if last is None:
        print(len(data), 0, flush=True)
    else:
        gap = max(gap, now - last)
    last = now
    total += len(data)
print(total, round(gap * 1000), flush=True)
'
