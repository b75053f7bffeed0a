-- Pktgen-DPDK as search.lua asks for it: a sender with counters, a link and a clock. All that depends on Pktgen's
-- version is in this file. `ports`: from flows.lua. `both_ways`: both ports send.

local generator = {}

-- Seconds since the machine was started, in hundredths. Lua's own clocks do not serve: os.time has whole seconds,
-- os.clock counts the time of all of Pktgen's cores together.
local function uptime()
    local file = assert(io.open("/proc/uptime"), "no /proc/uptime to take the time from")
    local seconds = file:read("n")
    file:close()
    return assert(seconds, "/proc/uptime: no number")
end

-- A port's counters. Up to 24 portStats takes a kind and has them flat; since then (seen in 26.02) it takes none, and
-- has them under 'curr'. A wrong number of arguments is an error, so the other form is tried.
local function port_counters(port)
    local good, all = pcall(pktgen.portStats, port, "port")
    if not good then
        local other
        other, all = pcall(pktgen.portStats, port)
        assert(other, "portStats takes neither one argument nor two: " .. tostring(all))
    end
    local found = assert(all[tonumber(port)], "port " .. port .. ": Pktgen has no counters of it")
    found = found.curr or found
    assert(found.opackets and found.ipackets, "port " .. port .. ": no opackets and ipackets in what portStats gives")
    return found
end

function generator.new(flows, both_ways)
    local ports = flows.config.ports
    local from, to = ports.inside, ports.outside
    local both = from .. "," .. to
    local senders = both_ways and both or from
    local g = { ways = both_ways and 2 or 1, now = uptime }

    function g.set_size(octets)
        flows.set_size(both, octets)
    end

    function g.set_rate(per_cent)
        pktgen.set(senders, "rate", per_cent)
    end

    function g.start()
        pktgen.start(senders)
    end

    function g.stop()
        pktgen.stop(senders)
    end

    -- Whole milliseconds: a fraction is an error to Pktgen.
    function g.wait(seconds)
        pktgen.delay(math.floor(seconds * 1000 + 0.5))
    end

    -- Packets: `out` and `into` of the way from inside to outside, `_back` of the other; octets of the first, where
    -- known.
    function g.counters()
        local a, b = port_counters(from), port_counters(to)
        return { out = a.opackets, into = b.ipackets, out_back = b.opackets, into_back = a.ipackets, octets = a.obytes }
    end

    -- Mbit/s of the sending port: "<UP-10000-FD>".
    function g.link()
        local state = pktgen.linkState(from)[tonumber(from)]
        local mbits = tonumber(string.match(state or "", "%d+") or "")
        assert(mbits and mbits > 0, "port " .. from .. " has no link: " .. tostring(state))
        return mbits
    end

    return g
end

return generator
