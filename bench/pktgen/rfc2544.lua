-- Pktgen-DPDK: the highest rate without loss for each frame size, by binary search (RFC 2544 section 26.1, as RFC 8219
-- section 7.1 takes it over). Prints a table, writes a CSV. Explained step by step in docs/load-testing.md.
--
--   pktgen ... -- ... -f bench/pktgen/rfc2544.lua      or: Pktgen:/> load bench/pktgen/rfc2544.lua
--
-- Start Pktgen in the repository's directory, or set PDMV2_PKTGEN to the directory of this file.

local here = os.getenv("PDMV2_PKTGEN") or "bench/pktgen"
NO_SETUP = true
local flows = dofile(here .. "/flows.lua")
NO_SETUP = nil
local generator = dofile(here .. "/generator.lua")
local search = dofile(here .. "/search.lua")

-- What may be changed; ports, prefixes, number of flows and protocol are in flows.lua.
local config = {
    sizes = { flows.smallest(), 128, 256, 512, 1024, 1280, 1518 },
    both_ways = false, -- true: both ports send, and loss is counted both ways (with two boxes)
    trial = 60, -- s; RFC 2544 section 24 wants 60 for what is reported
    search_trial = 10, -- s, while searching; what is found is then tried for 'trial'
    still = 3, -- s that all counters must stand still before a trial and after it
    still_most = 60, -- s; when they move for longer, the trial is invalid
    repeats = 3, -- how often a trial is done that was invalid
    warm_up = 5, -- s before each size, so that no flow of the trial is new to the box
    warm_up_rate = 1, -- per cent of the link
    resolution = 0.1, -- per cent of the link
    loss = 0, -- packets that may be missing; RFC 2544: none
    box_adds = 40, -- octets a packet grows by in the box, sealed: the link behind it carries that much less
    csv = os.getenv("PDMV2_CSV") or "rfc2544.csv",
}

local function say(...)
    print(string.format(...))
end

-- Frames of another length than was set make every figure of the row wrong. Ports count octets with the check sequence
-- or without, some otherwise, so this is a remark and no more.
local function wrong_size(size, t)
    return t.octets and (t.octets < size - 4.5 or t.octets > size + 0.5)
end

local function mbits_of(size, t)
    return t.pps * size * 8 / 1e6
end

local function write(csv, mbits, size, t, limit)
    local c = flows.config
    if t then
        csv:write(string.format("%d,%d,%s,%d,%.3f,%.3f,%.0f,%.1f,%.2f,%d,%d,%s\n", size, c.flows, c.proto, mbits,
            t.rate, t.achieved, t.pps, mbits_of(size, t), t.seconds, t.sent, t.missing, limit))
    else
        csv:write(string.format("%d,%d,%s,%d,,0,0,0,,,,%s\n", size, c.flows, c.proto, mbits, limit))
    end
    csv:flush()
end

local function show(rows)
    say("")
    say("| octets | %% of link |      Mpps |    Mbit/s | limit |")
    say("|-------:|----------:|----------:|----------:|-------|")
    for _, row in ipairs(rows) do
        local size, t, limit = row.size, row.trial, row.limit
        if t then
            say("| %6d | %9.3f | %9.4f | %9.1f | %s |", size, t.achieved, t.pps / 1e6, mbits_of(size, t), limit)
        else
            say("| %6d |      none |           |           | %s |", size, limit)
        end
    end
    say("%d flows, %s, %d s, at most %d packets missing; octets, per cent and Mbit/s as sent, with check sequence.",
        flows.config.flows, flows.config.proto, config.trial, config.loss)
    say("CSV: %s", config.csv)
end

local function main()
    local g = generator.new(flows, config.both_ways)
    flows.config.size = config.sizes[1]
    flows.setup()
    local mbits = g.link()
    local csv = assert(io.open(config.csv, "w"))
    csv:write("octets,flows,protocol,link_mbits,set_per_cent,per_cent,pps,mbits,trial_s,sent,missing,limit\n")
    local rows = {}
    for _, size in ipairs(config.sizes) do
        g.set_size(size)
        search.trial(g, config, config.warm_up_rate, config.warm_up, size, mbits, say)
        local t, limit = search.run(g, config, size, mbits, say)
        if t and wrong_size(size, t) then
            say("  %5d octets: the port counts %.1f a frame. Unless its driver counts otherwise, the row is wrong.",
                size, t.octets)
        end
        rows[#rows + 1] = { size = size, trial = t, limit = limit }
        write(csv, mbits, size, t, limit)
    end
    csv:close()
    show(rows)
end

main()
