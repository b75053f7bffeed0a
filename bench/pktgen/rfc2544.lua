-- Pktgen-DPDK: the highest rate without loss for each frame size, by binary search (RFC 2544 section 26.1, as RFC 8219
-- section 7.1 takes it over). Prints a table, writes a CSV. Explained step by step in docs/load-testing.md.
--
--   pktgen ... -- ... -f bench/pktgen/rfc2544.lua      or: Pktgen:/> load bench/pktgen/rfc2544.lua
--
-- Start Pktgen in the repository's directory, or set PDMV2_PKTGEN to the directory of this file.

NO_SETUP = true
local flows = dofile((os.getenv("PDMV2_PKTGEN") or "bench/pktgen") .. "/flows.lua")
NO_SETUP = nil

-- What may be changed; ports, prefixes, number of flows and protocol are in flows.lua.
local config = {
    sizes = { flows.smallest(flows.config.proto), 128, 256, 512, 1024, 1280, 1518 },
    both_ways = false, -- true: both ports send, and loss is counted both ways (with two boxes)
    trial = 60, -- s; RFC 2544 section 24 wants 60 for what is reported
    search_trial = 10, -- s, while searching; what is found is then tried for 'trial'
    settle = 3, -- s after the end, for what is still under way and for the counters
    warm_up = 5, -- s before each size, so that no flow of the trial is new to the box
    warm_up_rate = 1, -- per cent of the link
    resolution = 0.1, -- per cent of the link
    loss = 0, -- packets that may be missing; RFC 2544: none
    box_adds = 40, -- octets a packet grows by in the box, sealed: the link behind it carries that much less
    csv = os.getenv("PDMV2_CSV") or "rfc2544.csv",
}

local FRAMING = 20 -- octets between frames: preamble, start, gap
local from, to = flows.config.ports.inside, flows.config.ports.outside
local both = from .. "," .. to
local senders = config.both_ways and both or from

-- Mbit/s of the sending port: "<UP-10000-FD>".
local function link_speed()
    local state = pktgen.linkState(from)[tonumber(from)]
    local mbits = tonumber(string.match(state or "", "%d+") or "")
    assert(mbits and mbits > 0, "port " .. from .. " has no link: " .. tostring(state))
    return mbits
end

local function frames_per_second(mbits, size)
    return mbits * 1e6 / ((size + FRAMING) * 8)
end

local function counters()
    local a = pktgen.portStats(from, "port")[tonumber(from)]
    local b = pktgen.portStats(to, "port")[tonumber(to)]
    return { out = a.opackets, out_back = b.opackets, into = b.ipackets, into_back = a.ipackets }
end

-- Sends at `rate` per cent for `seconds`. Returns packets `sent` and `missing`, packets a second (`pps`), and whether
-- the generator `kept` the rate (to one per cent).
local function trial(rate, seconds, size, mbits)
    pktgen.set(senders, "rate", rate)
    pktgen.delay(200)
    local before = counters()
    pktgen.start(senders)
    pktgen.delay(seconds * 1000)
    pktgen.stop(senders)
    pktgen.delay(config.settle * 1000)
    local after = counters()

    local sent = after.out - before.out
    local missing = sent - (after.into - before.into)
    if config.both_ways then
        local back = after.out_back - before.out_back
        -- Each way by itself: what one way has too many must not hide what the other lacks.
        missing = math.max(missing, 0) + math.max(back - (after.into_back - before.into_back), 0)
        sent = sent + back
    end
    local ways = config.both_ways and 2 or 1
    local offered = frames_per_second(mbits, size) * rate / 100 * ways
    return { sent = sent, missing = missing, pps = sent / seconds, kept = sent >= 0.99 * offered * seconds }
end

local function say(...)
    print(string.format(...))
end

local function passed(t)
    return t.sent > 0 and t.missing <= config.loss
end

-- Behind the box frames are longer: beyond this rate, in per cent, the link there is what loses.
local function highest(size)
    return 100 * (size + FRAMING) / (size + FRAMING + config.box_adds)
end

-- What kept the rate from being higher.
local function limit(size, rate, t)
    if not t.kept then
        return "generator"
    end
    return rate >= highest(size) and "link" or "box"
end

-- The highest rate, in per cent of the link, that lost nothing, and its long trial; nil when none did.
local function search(size, mbits)
    local top = highest(size)
    local low, high, try = 0, top, top
    while true do
        local t = trial(try, config.search_trial, size, mbits)
        say("  %5d octets  %7.3f %%  sent %d  missing %d%s", size, try, t.sent, t.missing,
            t.kept and "" or "  (the generator did not keep this rate)")
        if passed(t) then
            low = try
        else
            high = try
        end
        if low == top or high - low <= config.resolution then
            break
        end
        try = (low + high) / 2
    end
    -- The long trial has the last word; each time it finds loss, a step further down.
    while low > 0 do
        local t = trial(low, config.trial, size, mbits)
        say("  %5d octets  %7.3f %%  sent %d  missing %d  (%d s)", size, low, t.sent, t.missing, config.trial)
        if passed(t) then
            return low, t
        end
        low = low - math.max(config.resolution, low * 0.01)
    end
    return nil
end

local function main()
    flows.config.size = config.sizes[1]
    flows.setup()
    local mbits = link_speed()
    local csv = assert(io.open(config.csv, "w"))
    csv:write("octets,flows,protocol,link_mbits,per_cent,pps,mbits,trial_s,sent,missing,limit\n")
    local rows = {}
    for _, size in ipairs(config.sizes) do
        flows.set_size(both, size)
        trial(config.warm_up_rate, config.warm_up, size, mbits)
        local rate, t = search(size, mbits)
        if rate then
            rows[#rows + 1] = { size, rate, t }
            csv:write(string.format("%d,%d,%s,%d,%.3f,%.0f,%.1f,%d,%d,%d,%s\n", size, flows.config.flows,
                flows.config.proto, mbits, rate, t.pps, t.pps * size * 8 / 1e6, config.trial, t.sent, t.missing,
                limit(size, rate, t)))
        else
            rows[#rows + 1] = { size }
            csv:write(string.format("%d,%d,%s,%d,0,0,0,%d,,,\n", size, flows.config.flows, flows.config.proto, mbits,
                config.trial))
        end
        csv:flush()
    end
    csv:close()

    say("")
    say("| octets | %% of link |      Mpps |    Mbit/s | limit |")
    say("|-------:|----------:|----------:|----------:|-------|")
    for _, row in ipairs(rows) do
        local size, rate, t = row[1], row[2], row[3]
        if rate then
            say("| %6d | %9.3f | %9.4f | %9.1f | %s |", size, rate, t.pps / 1e6, t.pps * size * 8 / 1e6,
                limit(size, rate, t))
        else
            say("| %6d |      none |           |           | box |", size)
        end
    end
    say("%d flows, %s, %d s, at most %d packets missing; octets and Mbit/s as sent, with check sequence. CSV: %s",
        flows.config.flows, flows.config.proto, config.trial, config.loss, config.csv)
end

main()
