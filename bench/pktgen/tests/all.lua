-- Tests of the scripts, without Pktgen: lua5.4 bench/pktgen/tests/all.lua, from the repository's directory.

local stand_in = dofile("bench/pktgen/tests/pktgen.lua")
local CONFIG = { trial = 60, search_trial = 10, still = 3, still_most = 60, repeats = 3, resolution = 0.1, loss = 0,
    box_adds = 40 }
local tests = {}

local function same(found, wanted, what)
    if found ~= wanted then
        error(string.format("%s: %s, not %s", what or "found", tostring(found), tostring(wanted)), 2)
    end
end

-- To one part in a thousand: the clock has hundredths of a second.
local function about(found, wanted, what)
    if math.abs(found - wanted) > math.abs(wanted) / 1000 then
        error(string.format("%s: %s, not about %s", what or "found", tostring(found), tostring(wanted)), 2)
    end
end

local function refused(part, inner, ...)
    local good, why = pcall(inner, ...)
    if good or not tostring(why):find(part, 1, true) then
        error(string.format("'%s' was expected, and not %s", part, good and "success" or tostring(why)), 2)
    end
end

local function load_flows()
    NO_SETUP = true
    local flows = dofile("bench/pktgen/flows.lua")
    NO_SETUP = nil
    return flows
end

local function quiet() end

-- Runs `inner(generator, search, flows)` with flows of so many octets set up in a box.
local function in_box(box, octets, inner, both_ways)
    return stand_in.within(box, function()
        local flows = load_flows()
        flows.config.size = octets
        flows.setup()
        local g = dofile("bench/pktgen/generator.lua").new(flows, both_ways)
        return inner(g, dofile("bench/pktgen/search.lua"), flows)
    end)
end

local function fps(per_cent, octets)
    return 10e9 / ((octets + 20) * 8) * per_cent / 100
end

function tests.the_stand_in_refuses_what_pktgen_refuses()
    for _, version in ipairs({ "23.03", "26.02" }) do
        local p = stand_in.new({ version = version }).pktgen
        refused("set does not support speed", p.set, "0", "speed", 1)
        refused("wrong number of arguments", p.set, "0", "rate")
        refused("a number is expected", p.set, "0", "rate", "fast")
        refused("wrong number of arguments", p.start)
        refused("wrong number of arguments", p.start, "0", "1")
        refused("no integer representation", p.delay, 0.5)
        refused("no such value", p.set_type, "0", "ipv5")
        refused("no such part", p.range.src_port, "0", "begin", 1)
        refused("without a fraction", p.range.src_port, "0", "start", 1.5)
        refused("the port is of IPv4", p.range.src_ip, "0", "start", "2001:db8::")
        refused("has no sequence", function() return p.sequence end)
        if version == "23.03" then
            refused("portStats, wrong number", p.portStats, "0")
        else
            refused("portStats, wrong number", p.portStats, "0", "port")
        end
        p.set_type("0", "ipv6")
        p.set("0", "size", 66)
    end
end

function tests.flows_are_set_up_both_ways()
    local box = stand_in.new()
    in_box(box, 128, function(_, _, flows) flows.setup() end)
    local there, back = box.ports[0], box.ports[1]
    same(there.range.src_ip.start, "2001:db8:a::0")
    same(there.range.src_ip.max, "2001:db8:a::1fff")
    same(there.range.src_ip.inc, "::1")
    same(back.range.dst_ip.max, there.range.src_ip.max)
    same(back.range.src_ip.start, there.range.dst_ip.start)
    same(back.range.dst_port.start, there.range.src_port.start)
    for _, port in pairs(box.ports) do
        same(port.size, 128)
        same(port.range.pkt_size.max, 128)
        same(port.range_on, true)
        same(port.kind, "ipv6")
        same(port.single_kind, "ipv6")
    end
    same(box.settings.count, 0)
end

-- 66 octets are enough for UDP, and Pktgen makes 78 of them.
function tests.no_frame_is_smaller_than_pktgen_makes_it()
    for _, proto in ipairs({ "udp", "tcp" }) do
        local box = stand_in.new()
        stand_in.within(box, function()
            local flows = load_flows()
            flows.config.proto = proto
            flows.config.size = flows.smallest(proto)
            flows.setup()
            flows.config.size = flows.smallest(proto) - 1
            refused("no IPv6 frame of less than 78 octets", flows.setup)
        end)
        same(box.sizes[1].sent, box.sizes[1].asked)
        same(box.sizes[1].sent, 78)
    end
end

function tests.every_flow_is_sent_as_often_as_any_other()
    local box = stand_in.new()
    stand_in.within(box, function()
        local flows = load_flows()
        assert(flows.config.flows == 8192, "the default")
        for _, count in ipairs({ 1, 1000, 8192, 12288, 24576 }) do
            flows.config.flows = count
            flows.setup()
        end
        flows.config.flows = 16384
        refused("some would be sent 2 times while others are sent 1 times", flows.setup)
        refused("take 12288 or 24576", flows.setup)
        for _, count in ipairs({ 24577, 65536 }) do
            flows.config.flows = count
            refused("24576 at most", flows.setup)
        end
        for _, count in ipairs({ 0, 65537, 1.5 }) do
            flows.config.flows = count
            refused("1 to 65536", flows.setup)
        end
        flows.config.flows, flows.config.buffers = 49152, 49152
        flows.setup()
    end)
end

function tests.the_time_is_taken_from_start_to_stop()
    for _, overrun in ipairs({ 1, 1.2, 1.35 }) do
        local box = stand_in.new({ overrun = overrun })
        local t = in_box(box, 128, function(g, search)
            return search.trial(g, CONFIG, 10, 20, 128, g.link(), quiet)
        end)
        about(t.pps, fps(10, 128), "packets a second")
        about(t.achieved, 10, "per cent")
        same(t.kept, true, "kept")
        same(t.passed, true, "passed")
        same(t.octets, 124, "octets a frame, without check sequence")
        assert(t.seconds >= 20 and t.seconds < 20.3, "it sent for " .. t.seconds .. " s")
    end
end

-- A rate that was not kept must not look kept because the delay was longer.
function tests.a_generator_that_falls_short_by_a_tenth_is_noticed()
    local box = stand_in.new({ overrun = 1.2, keeps = fps(45, 128) })
    local t = in_box(box, 128, function(g, search)
        return search.trial(g, CONFIG, 50, 10, 128, g.link(), quiet)
    end)
    same(t.kept, false, "kept")
    about(t.achieved, 45, "per cent")
end

function tests.counters_that_come_late_are_waited_for()
    -- Six pieces of 100 packets, a second apart: later than any fixed wait of three seconds.
    for _, wish in ipairs({ { read_every = 1 }, { late = 600, late_by = 1, late_pieces = 6 } }) do
        local box = stand_in.new(wish)
        in_box(box, 128, function(g, search)
            for _ = 1, 3 do
                local t = search.trial(g, CONFIG, 10, 10, 128, g.link(), quiet)
                same(t.missing, 0, "missing")
                same(t.passed, true, "passed")
                same(t.invalid, nil, "invalid")
            end
            same(#box.rates, 3, "trials")
        end)
    end
end

function tests.a_trial_with_more_packets_than_were_sent_is_repeated()
    -- They come 7 s after the end, when the counters have stood still: the trial loses them, and the next has them.
    local box = stand_in.new({ late = 500, late_by = 7 })
    in_box(box, 128, function(g, search)
        local first = search.trial(g, CONFIG, 10, 10, 128, g.link(), quiet)
        same(first.missing, 500, "missing of the first")
        same(first.passed, false, "passed, the first")
        box.late = 0
        local second = search.trial(g, CONFIG, 10, 10, 128, g.link(), quiet)
        same(#box.rates, 3, "the second was sent twice")
        same(second.missing, 0, "missing of the second")
        same(second.passed, true, "passed, the second")
    end)
end

function tests.a_trial_that_stays_invalid_passes_nothing()
    -- Somebody else's packets: the counters never stand still, and there are too many.
    local box = stand_in.new({ strangers = 100 })
    in_box(box, 128, function(g, search)
        local t = search.trial(g, CONFIG, 10, 10, 128, g.link(), quiet)
        same(#box.rates, 3, "trials")
        same(t.passed, false, "passed")
        assert(t.invalid:find("do not stand still", 1, true), t.invalid)
        local row, limit = search.run(g, CONFIG, 128, g.link(), quiet)
        same(row, nil)
        same(limit, "invalid")
    end)
    -- Each way by itself: 500 too many one way do not hide 500 missing the other way.
    box = stand_in.new()
    in_box(box, 128, function(g, search)
        local counters = g.counters
        function g.counters()
            local now = counters()
            local more = now.out // 1000
            now.into, now.into_back = now.into + more, now.into_back - more
            return now
        end
        local t = search.trial(g, CONFIG, 10, 10, 128, g.link(), quiet)
        same(t.missing, 0, "missing both ways")
        same(t.passed, false, "passed")
        assert(t.invalid:find("more packets came", 1, true), t.invalid)
    end, true)
end

local function find(box, octets, both_ways)
    local t, limit, search
    in_box(box, octets, function(g, s)
        search = s
        t, limit = s.run(g, CONFIG, octets, g.link(), quiet)
    end, both_ways)
    return t, limit, search
end

function tests.the_boxs_rate_is_found()
    for _, both_ways in ipairs({ false, true }) do
        local box = stand_in.new({ passes = 3e6, overrun = 1.2, read_every = 1 })
        local t, limit = find(box, 78, both_ways)
        local ways = both_ways and 2 or 1
        same(limit, "box")
        assert(t.pps <= 3e6 * ways * 1.001, "more than the box passes: " .. t.pps)
        assert(t.pps >= (3e6 - fps(CONFIG.resolution, 78)) * ways * 0.999, "much less than the box passes: " .. t.pps)
    end
end

function tests.the_link_behind_the_box_is_the_highest_rate()
    local box = stand_in.new()
    local t, limit, search = find(box, 1518)
    same(limit, "link")
    about(t.achieved, search.highest(1518, 40), "per cent")
    same(#box.rates, 2, "trials")
end

-- The box passes whatever comes: what is found is the generator's, at the rate that it achieves.
function tests.a_generator_that_cannot_keep_the_rate_is_reported_with_what_it_achieves()
    local box = stand_in.new({ keeps = 4e6, overrun = 1.2 })
    local t, limit = find(box, 78)
    same(limit, "generator")
    about(t.pps, 4e6, "packets a second")
    about(t.achieved, 100 * 4e6 / fps(100, 78), "per cent")
    same(t.kept, true, "the long trial asks for no more than that")
    same(#box.rates, 2, "trials")
end

-- The box's limit is below the generator's: the search goes on from what was achieved, and finds the box's.
function tests.rates_that_were_never_sent_are_not_searched()
    local keeps = 3.5e6
    local box = stand_in.new({ keeps = keeps, passes = 2.5e6 })
    local t, limit = find(box, 78)
    same(limit, "box")
    assert(t.pps <= 2.5e6 * 1.001 and t.pps >= 2.5e6 - fps(0.11, 78), "found " .. t.pps)
    local beyond = 0
    for _, rate in ipairs(box.rates) do
        beyond = beyond + (fps(rate, 78) > keeps * 1.01 and 1 or 0)
    end
    same(beyond, 1, "trials at rates that the generator does not keep")
end

function tests.the_long_trial_has_the_last_word()
    local box = stand_in.new({ passes = function(since) return since > 30 and 2e6 or 3e6 end })
    local t, limit = find(box, 78)
    same(limit, "box")
    assert(t.pps <= 2e6 * 1.001 and t.pps >= 2e6 * 0.98, "found " .. t.pps)
    assert(t.seconds >= 60, "a long one")
    -- Also when the short ones ended at the generator.
    box = stand_in.new({ keeps = 4e6, passes = function(since) return since > 30 and 2e6 or 5e6 end })
    t, limit = find(box, 78)
    same(limit, "box")
    assert(t.pps <= 2e6 * 1.001 and t.pps >= 2e6 * 0.98, "found " .. t.pps)
end

function tests.what_says_nothing_of_the_box_is_not_said_of_it()
    local t, limit = find(stand_in.new({ keeps = 0 }), 78)
    same(t, nil)
    same(limit, "generator", "when nothing was sent")
    t, limit = find(stand_in.new({ passes = 0 }), 78)
    same(t, nil)
    same(limit, "box", "when nothing came through")
    local box = stand_in.new({ link = 0 })
    in_box(box, 128, function(g) refused("port 0 has no link", g.link) end)
end

local function script(box, path)
    local _, said = stand_in.within(box, function() dofile("bench/pktgen/rfc2544.lua") end, { PDMV2_CSV = path })
    return table.concat(said, "\n")
end

-- The script as it is, with either library, up to its table and its CSV.
function tests.the_whole_script()
    for _, version in ipairs({ "23.03", "26.02" }) do
        local box = stand_in.new({ version = version, passes = 3e6, keeps = 8e6, overrun = 1.2, read_every = 1 })
        local path = os.tmpname()
        local good, why = pcall(function()
            local said = script(box, path)
            local sizes, last = {}, nil
            for line in io.lines(path) do
                local row = {}
                for field in line:gmatch("([^,]*),?") do
                    row[#row + 1] = field
                end
                if last == nil then
                    same(line, "octets,flows,protocol,link_mbits,set_per_cent,per_cent,pps,mbits,trial_s,sent,missing,"
                        .. "limit")
                else
                    local size, pps = tonumber(row[1]), tonumber(row[7])
                    sizes[#sizes + 1] = size
                    same(row[12], fps(100, size + 40) > 3e6 and "box" or "link", "limit at " .. size)
                    about(tonumber(row[8]), pps * size * 8 / 1e6, "Mbit/s")
                    about(tonumber(row[10]) / tonumber(row[9]), pps, "sent in that time")
                    about(tonumber(row[6]), 100 * pps / fps(100, size), "per cent")
                    same(row[11], "0", "missing")
                end
                last = line
            end
            same(table.concat(sizes, " "), "78 128 256 512 1024 1280 1518")
            for _, size in ipairs(box.sizes) do
                same(size.sent, size.asked, "frames of another size than was set")
            end
            assert(said:find("CSV: " .. path, 1, true) and said:find("| box |", 1, true), "the table")
            assert(not said:find("the row is wrong", 1, true), "of no row")
        end)
        os.remove(path)
        assert(good, why)
    end
end

function tests.frames_of_another_size_are_noticed()
    local path = os.tmpname()
    local good, said = pcall(script, stand_in.new({ passes = 3e6, longer = 12 }), path)
    os.remove(path)
    assert(good, said)
    assert(said:find("78 octets: the port counts 86.0 a frame", 1, true), said)
end

local names, failed = {}, 0
for name in pairs(tests) do
    names[#names + 1] = name
end
table.sort(names)
for _, name in ipairs(names) do
    local good, why = xpcall(tests[name], function(e) return type(e) == "string" and e or debug.traceback(e) end)
    if not good then
        failed = failed + 1
        print("FAILED " .. name:gsub("_", " ") .. ": " .. tostring(why))
    end
end
print(string.format("bench/pktgen: %d tests, %d failed", #names, failed))
os.exit(failed == 0 and #names > 0)
