-- A stand-in for Pktgen's Lua library, between whose two ports stands a box; time goes by only while a script waits. It
-- refuses what the library of 23.03 (or 26.02) refuses: names, numbers of arguments, their types. What the library
-- mends without a word it mends as well, as frames that are too short for IPv6.

local stand_in = {}

local SMALLEST_V6 = 78
local SETTINGS = { count = 1, size = 1, rate = 1, burst = 1, cycles = 1, sport = 1, dport = 1, ttl = 1, seq_cnt = 1,
    seqCnt = 1, prime = 1, dump = 1 }
local OF_A_RANGE = { start = 1, inc = 1, increment = 1, min = 1, minimum = 1, max = 1, maximum = 1 }

local function is_text(value)
    return type(value) == "string" or type(value) == "number" -- as luaL_checkstring
end

local function is_integer(value)
    return math.tointeger(tonumber(value)) ~= nil -- as luaL_checkinteger
end

local function needs(name, count, ...)
    if select("#", ...) ~= count then
        error(name .. ", wrong number of arguments", 3)
    end
end

local function must(good, name, what)
    if not good then
        error(name .. ": " .. what, 3)
    end
end

local function ports_of(list)
    local ports = {}
    must(is_text(list), "ports", "a string is expected")
    for port in string.gmatch(tostring(list), "[^,]+") do
        ports[#ports + 1] = assert(math.tointeger(tonumber(port)), "a port is no number: " .. port)
    end
    return ports
end

-- What a test may ask for. Packets a second, seconds, factors.
local DEFAULTS = {
    version = "23.03",
    link = 10000, -- Mbit/s
    keeps = math.huge, -- packets a second that the generator can send on a port
    passes = math.huge, -- that the box passes; or a function of the seconds since the port was started
    overrun = 1, -- of a delay
    read_every = 0.1, -- the counters are read, and stand still between
    late = 0, -- packets of each port that come only `late_by` after it was stopped
    late_by = 0,
    late_pieces = 1, -- as many pieces as they come in, a second apart
    longer = 0, -- octets that frames are longer than was set
    strangers = 0, -- packets a second that somebody else sends to port 1
}

-- A box with its generator: `pktgen` is the library; `rates` are those that were sent at, in order.
function stand_in.new(wishes)
    local box = { time = 1000, rates = {}, sizes = {}, queue = {}, ports = {}, settings = {} }
    for name, value in pairs(DEFAULTS) do
        box[name] = value
    end
    for name, value in pairs(wishes or {}) do
        assert(DEFAULTS[name] ~= nil, "no such wish: " .. name)
        box[name] = value
    end
    for id = 0, 1 do
        box.ports[id] = { out = 0, into = 0, octets = 0, rate = 100, size = 64, range = {}, due = 0, may = 0 }
    end

    local function pps(port)
        return math.min(box.keeps, box.link * 1e6 / ((port.size + 20) * 8) * port.rate / 100)
    end

    local function passes(port)
        local most = box.passes
        return type(most) == "function" and most(box.time - port.started) or most
    end

    local function see()
        for _, port in pairs(box.ports) do
            port.seen = { opackets = port.out, ipackets = port.into, obytes = port.octets, ibytes = 0,
                ierrors = 0, oerrors = 0, rx_nombuf = 0 }
        end
        box.read_at = box.time
    end

    local function step(seconds)
        box.time = box.time + seconds
        for id, port in pairs(box.ports) do
            if port.started then
                -- Whole packets; what is left over counts the next time.
                port.due = port.due + pps(port) * seconds
                port.may = math.min(port.may % 1 + passes(port) * seconds, 1e15)
                local sent = port.due // 1
                port.out, port.octets, port.due = port.out + sent, port.octets + sent * (port.size - 4 + box.longer),
                    port.due - sent
                local passed = math.min(sent, port.may // 1)
                box.ports[1 - id].into, port.may = box.ports[1 - id].into + passed, port.may - passed
            end
        end
        box.ports[1].into = box.ports[1].into + math.ceil(box.strangers * seconds)
        for at = #box.queue, 1, -1 do
            if box.queue[at].at <= box.time then
                local late = table.remove(box.queue, at)
                box.ports[late.to].into = box.ports[late.to].into + late.packets
            end
        end
        if box.time - box.read_at >= box.read_every then
            see()
        end
    end

    local p = { range = {} }
    local function range_field(name, check, what)
        p.range[name] = function(...)
            needs(name, 3, ...)
            local list, which, value = ...
            must(OF_A_RANGE[which], name, "no such part: " .. tostring(which))
            must(check(value), name, what)
            for _, id in ipairs(ports_of(list)) do
                local port = assert(box.ports[id], "no such port")
                must(what ~= "an IPv6 address is expected" or port.kind == "ipv6", name, "the port is of IPv4")
                port.range[name] = port.range[name] or {}
                port.range[name][which] = value
            end
        end
    end
    local function is_v6(value)
        return type(value) == "string" and value:match("^[%x:]+$") and value:match("::")
    end
    for _, name in ipairs({ "src_ip", "dst_ip" }) do
        range_field(name, is_v6, "an IPv6 address is expected")
    end
    for _, name in ipairs({ "src_port", "dst_port", "pkt_size", "hop_limits" }) do
        range_field(name, is_integer, "a number without a fraction is expected")
    end

    -- Functions of a port list and a text.
    local function choice(into, name, allowed, obey)
        into[name] = function(...)
            needs(name, 2, ...)
            local list, value = ...
            must(is_text(value) and allowed[value], name, "no such value: " .. tostring(value))
            for _, id in ipairs(ports_of(list)) do
                obey(assert(box.ports[id], "no such port"), value)
            end
        end
    end
    choice(p.range, "set_type", { ipv4 = 1, ipv6 = 1 }, function(port, value) port.kind = value end)
    choice(p.range, "ip_proto", { tcp = 1, udp = 1, icmp = 1 }, function(port, value) port.range.proto = value end)
    choice(p, "set_type", { ipv4 = 1, ipv6 = 1 }, function(port, value) port.single_kind = value end)
    choice(p, "set_proto", { tcp = 1, udp = 1, icmp = 1 }, function(port, value) port.proto = value end)
    choice(p, "set_range", { on = 1, off = 1 }, function(port, value) port.range_on = value == "on" end)

    function p.set(...)
        needs("set", 3, ...)
        local list, what, value = ...
        must(SETTINGS[what], "set", "set does not support " .. tostring(what))
        must(tonumber(value), "set", "a number is expected")
        for _, id in ipairs(ports_of(list)) do
            local port = assert(box.ports[id], "no such port")
            if what == "size" then
                local least = port.single_kind == "ipv6" and SMALLEST_V6 or 64
                port.size = math.max(least, math.min(1518, tonumber(value)))
                box.sizes[#box.sizes + 1] = { asked = value, sent = port.size }
            elseif what == "rate" then
                port.rate = math.max(0.01, math.min(100, tonumber(value)))
            end
        end
        box.settings[what] = value
    end

    function p.start(...)
        needs("start", 1, ...)
        for _, id in ipairs(ports_of(...)) do
            local port = assert(box.ports[id], "no such port")
            port.started = port.started or box.time
            box.rates[#box.rates + 1] = port.rate
        end
    end

    function p.stop(...)
        needs("stop", 1, ...)
        for _, id in ipairs(ports_of(...)) do
            local port = assert(box.ports[id], "no such port")
            if port.started then
                port.started = nil
                box.ports[1 - id].into = box.ports[1 - id].into - box.late
                for piece = 1, box.late_pieces do
                    table.insert(box.queue, { at = box.time + box.late_by + piece - 1, to = 1 - id,
                        packets = box.late / box.late_pieces })
                end
            end
        end
    end

    function p.delay(...)
        needs("delay", 1, ...)
        must(is_integer(...), "delay", "number has no integer representation")
        local left = tonumber((...)) / 1000 * box.overrun
        while left > 1e-9 do
            local some = math.min(left, 0.1)
            step(some)
            left = left - some
        end
    end

    function p.clr()
        for _, port in pairs(box.ports) do
            port.out, port.into, port.octets = 0, 0, 0
        end
        see()
    end

    function p.linkState(...)
        needs("linkState", 1, ...)
        local all = { n = 0 }
        for _, id in ipairs(ports_of(...)) do
            all[id], all.n = box.link > 0 and "<UP-" .. box.link .. "-FD>" or "<--Down-->", all.n + 1
        end
        return all
    end

    function p.portStats(...)
        needs("portStats", box.version == "23.03" and 2 or 1, ...)
        local list, kind = ...
        must(box.version ~= "23.03" or is_text(kind), "portStats", "a string is expected")
        local all = { n = 0 }
        for _, id in ipairs(ports_of(list)) do
            local seen = assert(box.ports[id], "no such port").seen
            all[id], all.n = box.version == "23.03" and seen or { curr = seen, rate = {} }, all.n + 1
        end
        return all
    end

    local function strict(library, name)
        return setmetatable(library, { __index = function(_, key) error(name .. " has no " .. tostring(key), 2) end })
    end
    strict(p.range, "pktgen.range")
    see()
    box.pktgen = strict(p, "pktgen")
    return box
end

-- Runs `inner` with the box's library as Pktgen's, its time as that of the machine, and what is printed in a table.
function stand_in.within(box, inner, environment)
    local open, getenv, say, said = io.open, os.getenv, print, {}
    pktgen = box.pktgen
    io.open = function(path, mode)
        if path ~= "/proc/uptime" then
            return open(path, mode)
        end
        local file = {}
        function file:read() return math.floor(box.time * 100) / 100 end
        function file:close() end
        return file
    end
    os.getenv = function(name) return (environment or {})[name] end
    print = function(line) said[#said + 1] = line end
    local good, result = pcall(inner)
    io.open, os.getenv, print, pktgen, NO_SETUP = open, getenv, say, nil, nil
    if not good then
        error(result, 0)
    end
    return result, said
end

return stand_in
