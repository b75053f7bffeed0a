-- Pktgen-DPDK: IPv6 flows through a pdmv2-middlebox, by range mode. Explained step by step in docs/load-testing.md.
--
-- Pktgen's port 0 is wired to the box's inside port, port 1 to the outside port (of that box or the one across).
-- Needs a Pktgen after 21.03: IPv6 in range mode came in May 2021 (its pull request 69). Run with 23.03.0.
--
--   Pktgen:/> load bench/pktgen/flows.lua        or: pktgen ... -- ... -f bench/pktgen/flows.lua
--   Pktgen:/> start 0
--
-- Loaded by another script it only defines: 'flows = dofile(...)', with NO_SETUP set.

local flows = {}

-- What may be changed.
flows.config = {
    ports = { inside = "0", outside = "1" },
    proto = "udp", -- udp | tcp
    size = 78, -- octets with check sequence, at least 78
    flows = 8192, -- 1 to 65536, and no more than Pktgen has buffers; see flows.spread
    buffers = 24576, -- of a port for sending: MAX_MBUFS_PER_PORT in app/pktgen-constants.h
    rate = 1, -- per cent of the link
    -- The first 112 bits of the addresses; inside ones must lie in the prefixes of the box's node.
    inside = "2001:db8:a::",
    outside = "2001:db8:b::",
    client_port = 16384,
    server_port = 443,
}

-- Octets of the smallest frame, with check sequence. Pktgen makes every IPv6 frame long enough for a TCP header, says
-- nothing of it, and works the rate out of the longer frame: 66 octets, which are enough for UDP, would measure 78.
function flows.smallest()
    return 14 + 40 + 20 + 4
end

-- Pktgen fills its buffers once with the flows, one after the other, and sends them round and round. Returns how often
-- the flow that is sent least and the one that is sent most come in a round.
function flows.spread(count, buffers)
    return buffers // count, (buffers + count - 1) // count
end

-- Start, increment, least and greatest value of a field.
local function walk(set, port, first, step, last)
    set(port, "start", first)
    set(port, "inc", step)
    set(port, "min", first)
    set(port, "max", last)
end

-- Only the inside address walks. Fields that walk together do so in step, and one field shows what happens.
local function direction(c, port, outbound)
    local r = pktgen.range
    local first = c.inside .. "0"
    local last = string.format("%s%x", c.inside, c.flows - 1)
    local host = outbound and r.src_ip or r.dst_ip
    local server = outbound and r.dst_ip or r.src_ip

    r.set_type(port, "ipv6") -- before the addresses, which are read as of this type
    r.ip_proto(port, c.proto)
    walk(host, port, first, c.flows > 1 and "::1" or "::", last)
    walk(server, port, c.outside .. "1", "::", c.outside .. "1")
    local sport = outbound and c.client_port or c.server_port
    local dport = outbound and c.server_port or c.client_port
    walk(r.src_port, port, sport, 0, sport)
    walk(r.dst_port, port, dport, 0, dport)
    walk(r.hop_limits, port, 64, 0, 64)
end

-- Frame size of the ports, octets with check sequence. Also of single mode: the rate is worked out of that.
function flows.set_size(port, size)
    pktgen.set(port, "size", size)
    walk(pktgen.range.pkt_size, port, size, 0, size)
end

-- What is wrong with the settings, before Pktgen mends it without a word.
local function check(c)
    assert(math.type(c.flows) == "integer" and c.flows >= 1 and c.flows <= 65536, "flows: 1 to 65536")
    assert(c.proto == "udp" or c.proto == "tcp", "proto: udp or tcp")
    assert(c.size >= flows.smallest(),
        "size: Pktgen makes no IPv6 frame of less than " .. flows.smallest() .. " octets; for smaller ones take TRex")
    local least, most = flows.spread(c.flows, c.buffers)
    assert(least > 0, "flows: " .. c.buffers .. " at most, Pktgen has no more buffers; for more flows take TRex")
    -- A tenth is not worth a word: 1,000 flows come 24 or 25 times.
    assert(most <= 1.1 * least, string.format(
        "flows: of %d, some would be sent %d times while others are sent %d times, out of %d buffers; take %d or %d",
        c.flows, most, least, c.buffers, c.buffers // most, c.buffers // least))
    assert(pktgen.range.set_type and pktgen.range.hop_limits,
        "this Pktgen has no IPv6 in range mode; take one after 21.03")
end

function flows.setup()
    local c = flows.config
    local both = c.ports.inside .. "," .. c.ports.outside
    check(c)

    pktgen.stop(both)
    pktgen.set(both, "count", 0) -- until stopped
    pktgen.set(both, "rate", c.rate)
    pktgen.set_type(both, "ipv6")
    pktgen.set_proto(both, c.proto)
    direction(c, c.ports.inside, true)
    direction(c, c.ports.outside, false)
    flows.set_size(both, c.size)
    pktgen.set_range(both, "on")
    pktgen.clr()
end

if not NO_SETUP then
    local c = flows.config
    flows.setup()
    print(string.format("IPv6 %s, %d flows, %d octets, %g %% of the link. Now: start %s", c.proto, c.flows, c.size,
        c.rate, c.ports.inside))
    print(string.format("Port %s sends the same flows the other way.", c.ports.outside))
end

return flows
