# The story of a router: unmodified routing daemons on the control speak with the relay's neighbors, and the relay forwards by
# what they found out. Sourced by tools/demo.

readonly DIR=/run/l2demo-router PREFIX=l2router
readonly CLIENT1=$PREFIX-client1 NEIGHBOR1=$PREFIX-neighbor1 RELAY=$PREFIX-relay NEIGHBOR2=$PREFIX-neighbor2 \
    CLIENT2=$PREFIX-client2 CONTROL=$PREFIX-control ROUTER=$PREFIX-router
readonly NAMESPACES=("$ROUTER" "$CONTROL" "$RELAY" "$NEIGHBOR1" "$NEIGHBOR2" "$CLIENT1" "$CLIENT2")
readonly TRANSIT_BYTES=1000     # a packet on the segment as long as this is one of the clients': messages are shorter
readonly FRR=/usr/lib/frr

COMMANDS+=($FRR/zebra:frr vtysh:frr ping:iputils-ping traceroute:traceroute tcpdump:tcpdump)

tell() {
    show_machines
    show_configuration
    start_daemons
    start_routing
    show_adjacencies
    show_routes
    cross_the_relay
    count_on_the_segment
    kill_control_under_ping
    verify
}

left_up() {
    cat <<TEXT
    ip netns exec $CLIENT1 traceroute 10.2.0.2
    ip netns exec $ROUTER vtysh --vty_socket $DIR/router
    $(command -v l2ctl) --socket $DIR/relay.sock show routes
TEXT
}

# ---------------------------------------------------------------------------------------------------------------------------
# The machines

show_machines() {
    title "A relay with two ports, a router and a client behind each, and a control"
    cat <<'PICTURE'

    client1 ── neighbor1 ──── eth1     relay     eth2 ──── neighbor2 ── client2
    10.1.0.2    (OSPF)   .2      .1      ║      .1      .2   (BGP)      10.2.0.2
                     192.0.2.0/24       lan0    198.51.100.0/24
                                         ║
                                         ║  raw Ethernet, no IP address at all
                                         ║
                                        lan0
                                       control: symbols eth1 and eth2, unmodified zebra, ospfd, bgpd

PICTURE
    say "The relay has the network ports. The control will have the routing daemons."
    mkdir -p $DIR
    local name
    for name in "${NAMESPACES[@]}"; do
        ip netns add "$name"
        ip -n "$name" link set lo up
        ip netns exec "$name" sysctl -qw net.ipv6.conf.default.accept_dad=0
    done
    cable $CLIENT1 eth0 10.1.0.2/24 $NEIGHBOR1 eth0 10.1.0.1/24
    cable $NEIGHBOR1 eth1 192.0.2.2/24 $RELAY eth1 192.0.2.1/24
    cable $RELAY eth2 198.51.100.1/24 $NEIGHBOR2 eth1 198.51.100.2/24
    cable $NEIGHBOR2 eth0 10.2.0.1/24 $CLIENT2 eth0 10.2.0.2/24
    cable $RELAY lan0 "" $CONTROL lan0 ""
    ip -n $CLIENT1 route add default via 10.1.0.1
    ip -n $CLIENT2 route add default via 10.2.0.1
    for name in $NEIGHBOR1 $NEIGHBOR2; do
        ip netns exec "$name" sysctl -qw net.ipv4.ip_forward=1
    done
    for name in $RELAY $CONTROL; do
        # As on a cable: every frame has its final size and checksum.
        ip netns exec "$name" ethtool -K lan0 tx off rx off tso off gso off gro off > /dev/null
    done
}

# A cable between two machines. Arguments: namespace, interface, address or "", twice
cable() {
    ip -n "$1" link add "$2" type veth peer name "$5" netns "$4"
    if [[ -n $3 ]]; then
        ip -n "$1" addr add "$3" dev "$2"
        ip -n "$4" addr add "$6" dev "$5"
    fi
    ip -n "$1" link set "$2" up
    ip -n "$4" link set "$5" up
}

show_configuration() {
    title "Relay and control, as in examples/router"
    (umask 077 && head -c 32 /dev/urandom | base64 > $DIR/psk)
    local file
    for file in relay control; do
        {
            sed "s/netns = \"router\"/netns = \"$ROUTER\"/" examples/router/$file.toml
            printf '\n[api]\nsocket = "%s"\n' $DIR/$file.sock
        } > $DIR/$file.toml
    done
    # Without comments and spacing; a symbol's lines side by side with its port's.
    paste -d '|' <(echo relay.toml; shortened relay) <(echo control.toml; shortened control) \
        | awk -F '|' '{ printf "    %-42s%s\n", $1, $2 }'
}

shortened() {
    echo
    sed 's/ *#.*//; /^$/d' examples/router/"$1".toml
}

start_daemons() {
    title "Relay and control start: the control has the relay's ports"
    spawn $RELAY relay l2relay --config $DIR/relay.toml
    start_control
    await "the relay and the control to find each other" relay_has peers '"state": "up"'
    await_symbols
    run router ip -brief -4 address
}

start_control() {
    spawn $CONTROL control l2control --config $DIR/control.toml
    control=$!
}

await_symbols() {
    await "both symbols to come up" both_symbols_up
}

both_symbols_up() {
    [[ $(l2ctl --socket $DIR/control.sock show symbols --json 2> /dev/null | grep -c '"state": "up"') -eq 2 ]]
}

# ---------------------------------------------------------------------------------------------------------------------------
# Routing

start_routing() {
    title "Routing daemons start: OSPF on neighbor1, BGP on neighbor2, both on the control"
    start_frr neighbor1 zebra < /dev/null
    start_frr neighbor1 ospfd <<'FRR'
interface eth1
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 10
router ospf
 router-id 192.0.2.2
 network 192.0.2.0/24 area 0
 network 10.1.0.0/24 area 0
FRR
    start_frr neighbor2 zebra < /dev/null
    start_frr neighbor2 bgpd <<'FRR'
router bgp 65002
 bgp router-id 198.51.100.2
 no bgp ebgp-requires-policy
 neighbor 198.51.100.1 remote-as 65001
 neighbor 198.51.100.1 timers connect 1
 address-family ipv4 unicast
  network 10.2.0.0/24
FRR
    start_frr router zebra < /dev/null
    start_frr router ospfd <<'FRR'
interface eth1
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 10
router ospf
 router-id 192.0.2.1
 network 192.0.2.0/24 area 0
 redistribute bgp
FRR
    start_frr router bgpd <<'FRR'
router bgp 65001
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 neighbor 198.51.100.2 remote-as 65002
 neighbor 198.51.100.2 timers connect 1
 address-family ipv4 unicast
  redistribute ospf
FRR
    say "The control's configuration, which names the symbols like any interface:"
    cat $DIR/router/ospfd.conf $DIR/router/bgpd.conf | indent
}

# Starts a daemon of FRR with the configuration in the input. Arguments: machine, daemon
start_frr() {
    local folder=$DIR/$1
    mkdir -p "$folder"
    cat > "$folder/$2.conf"
    chown -R frr:frr "$folder"
    spawn "$PREFIX-$1" "$2-$1" $FRR/"$2" --log stdout --vty_port 0 --config_file "$folder/$2.conf" \
        --pid_file "$folder/$2.pid" --socket "$folder/zebra.sock" --vty_socket "$folder"
    await "$2 on the $1" test -S "$folder/$2.vty"
}

show_adjacencies() {
    title "The neighbors speak with the control's daemons, and take them for the relay"
    await "the OSPF adjacency" vty_shows neighbor1 "show ip ospf neighbor" "192.0.2.1 .*Full"
    await "the BGP session" vty_shows neighbor2 "show bgp neighbors" "Established"
    run neighbor1 vtysh --vty_socket $DIR/neighbor1 -c "show ip ospf neighbor"
    run neighbor2 vtysh --vty_socket $DIR/neighbor2 -c "show bgp summary"
}

vty_shows() {
    vtysh --vty_socket $DIR/"$1" -c "$2" 2> /dev/null | grep -q "$3"
}

show_routes() {
    title "What the daemons found out, the relay has in its own kernel"
    await "the control's routes" has_routes $ROUTER
    await "the neighbors' routes" has_neighbors_routes
    run router ip route
    await "the relay's routes" has_routes $RELAY proto 108
    await "the relay's word that it has them" routes_installed
    run relay ip route show proto 108
    run control l2ctl --socket $DIR/control.sock show routes
    run relay l2ctl --socket $DIR/relay.sock show routes
}

# Whether a kernel has the routes to both clients. Arguments: namespace, more words for `ip route show`
has_routes() {
    local routes
    routes=$(ip -n "$1" route show "${@:2}")
    [[ $routes == *"10.1.0.0/24 "*"via 192.0.2.2 dev eth1"* && $routes == *"10.2.0.0/24 "*"via 198.51.100.2 dev eth2"* ]]
}

has_neighbors_routes() {
    [[ -n $(ip -n $NEIGHBOR1 route show 10.2.0.0/24) && -n $(ip -n $NEIGHBOR2 route show 10.1.0.0/24) ]]
}

routes_installed() {
    [[ $(l2ctl --socket $DIR/control.sock show routes --json 2> /dev/null | grep -c '"state": "installed"') -ge 2 ]]
}

# ---------------------------------------------------------------------------------------------------------------------------
# Transit

cross_the_relay() {
    title "From client to client: the relay is a hop like any other"
    await "client2 to be reached" ip netns exec $CLIENT1 ping -c 1 -W 1 -q 10.2.0.2 > /dev/null
    run client1 ping -c 3 -i 0.2 10.2.0.2
    run client1 traceroute -n -q 1 -w 1 10.2.0.2 | tee $DIR/hops
    grep -q ' 2  192\.0\.2\.1 ' $DIR/hops || fail "the relay is not the second hop"
    grep -q ' 4  10\.2\.0\.2 ' $DIR/hops || fail "client2 is not the fourth hop"
}

count_on_the_segment() {
    title "No packet that the relay forwards crosses the segment"
    local pings="-q -c 200 -i 0.002 -s $TRANSIT_BYTES" transit punted
    watch_segment
    run client1 ping $pings 10.2.0.2
    transit=$(watched_packets)
    say "Packets of that size on the segment meanwhile: $transit."
    watch_segment
    run router ping ${pings/200/10} 192.0.2.2
    punted=$(watched_packets)
    say "And when the control's own namespace asks and is answered 10 times: $punted."
    [[ $punted -eq 20 ]] || fail "the segment was not watched: 20 packets should have been seen"
    [[ $transit -eq 0 ]] || fail "$transit packets of the clients crossed the segment"
}

watch_segment() {
    spawn $RELAY tcpdump tcpdump -i lan0 -U --immediate-mode -w $DIR/segment.pcap greater $TRANSIT_BYTES
    tcpdump=$!
    await "tcpdump to listen" test -s $DIR/segment.pcap
}

# Ends the watch; how many packets were seen.
watched_packets() {
    kill "$tcpdump"
    await "tcpdump to end" ended_process "$tcpdump"
    tcpdump -r $DIR/segment.pcap --count 2> /dev/null | cut -d ' ' -f 1
    rm $DIR/segment.pcap
}

ended_process() {
    ! kill -0 "$1" 2> /dev/null
}

kill_control_under_ping() {
    title "kill -9 of l2control under a running ping"
    ip netns exec $CLIENT1 ping -q -i 0.005 -c 800 10.2.0.2 > $DIR/ping.txt 2>&1 &
    pinger=$!
    nap 0.7
    shown control "kill -9 l2control"
    kill -9 "$control"
    await "l2control to end" ended_process "$control"
    nap 0.7
    say "Nobody is there to route, and the ping goes on. The relay:"
    run relay l2ctl --socket $DIR/relay.sock show routes
    say "A new l2control:"
    start_control
    shown control "l2control --config control.toml"
    await_symbols
    await "the new control's routes" routes_installed
    wait "$pinger" || fail "the ping broke off: $(cat $DIR/ping.txt)"
    shown client1 "ping -q -i 0.005 -c 800 10.2.0.2"
    indent < $DIR/ping.txt
    grep -q ' 0% packet loss' $DIR/ping.txt || fail "the ping lost packets"
    say "The daemons on the control, and their neighbors, never noticed:"
    run neighbor1 vtysh --vty_socket $DIR/neighbor1 -c "show ip ospf neighbor"
    run neighbor2 vtysh --vty_socket $DIR/neighbor2 -c "show bgp summary"
}

verify() {
    title "Both sides compare what they mean with what their kernels have"
    run control l2ctl --socket $DIR/control.sock verify
    run relay l2ctl --socket $DIR/relay.sock verify
    say "No difference."
}
