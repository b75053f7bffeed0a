-- PDM (RFC 8250) and PDMv2 options for Wireshark and tshark, in place of the dissector that is built in, which knows PDM
-- alone and takes PDMv2 for a broken one.
--
-- Put this file and pdmv2-open.lua into the plugins' directory (Help, About, Folders: Personal Lua Plugins), or:
--   tshark -X lua_script:pdmv2.lua -o pdmv2.key_log:keys.log -r wire.pcap -V
-- Filters begin with pdmv2, such as pdmv2.psntp == 7 or pdmv2.delta_tlr_ns > 1000000 or pdmv2.not_opened.
-- Sealed options are opened with a key log ([keys] log of a box), or shown from what 'pdmv2 decode --wireshark' wrote.

local OPTION = 0x0F
local DEST_OPTS = 60
local FORMS = { [10] = "pdm", [18] = "clear", [34] = "encrypted" }
local EXPECTED = "10 (PDM), 18 (PDMv2 in clear) or 34 (PDMv2 encrypted)"
local VERSION = 2

local pdmv2 = Proto("pdmv2", "PDM and PDMv2")

local directory = (debug.getinfo(1, "S").source:match("^@(.*[/\\])")) or ""
local opening = dofile(directory .. "pdmv2-open.lua")

pdmv2.prefs.key_log = Pref.string("Key log", "", "File that [keys] log of a box names: sealed options are opened with it")
pdmv2.prefs.side_file = Pref.string("Side file", "", "File that 'pdmv2 decode --wireshark' wrote, with what it has opened")
pdmv2.prefs.kri_max = Pref.uint("Rotations", 8, "Key rotation indices 0 to this are tried for flows whose start is not in the capture")

local f = {
    next = ProtoField.uint8("pdmv2.header.next", "Next Header", base.DEC),
    header_len = ProtoField.uint8("pdmv2.header.len", "Length, in 8 octets beyond the first 8", base.DEC),
    other = ProtoField.bytes("pdmv2.other", "Other option"),
    type = ProtoField.uint8("pdmv2.type", "Option Type", base.HEX),
    len = ProtoField.uint8("pdmv2.len", "Opt Data Len", base.DEC),
    form = ProtoField.string("pdmv2.form", "Form"),
    version = ProtoField.uint8("pdmv2.version", "Version", base.DEC, nil, 0xF0),
    reserved = ProtoField.uint16("pdmv2.reserved", "Reserved", base.HEX, nil, 0x0FFF),
    prseq = ProtoField.uint16("pdmv2.prseq", "PRSEQ", base.DEC, nil, 0xFFFE),
    flag = ProtoField.uint16("pdmv2.f", "F (parity of the key rotation)", base.DEC, nil, 0x0001),
    sealed = ProtoField.bytes("pdmv2.ciphertext", "Ciphertext"),
    tag = ProtoField.bytes("pdmv2.tag", "Tag"),
    opened = ProtoField.bool("pdmv2.opened", "Opened"),
    not_opened = ProtoField.bool("pdmv2.not_opened", "Not opened"),
    node = ProtoField.string("pdmv2.node", "Sealed by"),
    generation = ProtoField.uint32("pdmv2.generation", "Generation", base.DEC),
    kri = ProtoField.uint32("pdmv2.kri", "Key rotation index", base.DEC),
    pointer = ProtoField.uint32("pdmv2.global_pointer", "Global Pointer", base.DEC),
    psntp = ProtoField.uint16("pdmv2.psntp", "PSN This Packet", base.DEC),
    psnlr = ProtoField.uint16("pdmv2.psnlr", "PSN Last Received", base.DEC),
    scale_dtlr = ProtoField.uint8("pdmv2.scale_dtlr", "Scale DTLR", base.DEC),
    scale_dtls = ProtoField.uint8("pdmv2.scale_dtls", "Scale DTLS", base.DEC),
    delta_tlr = ProtoField.uint16("pdmv2.delta_tlr", "Delta Time Last Received", base.DEC),
    delta_tls = ProtoField.uint16("pdmv2.delta_tls", "Delta Time Last Sent", base.DEC),
    dtlr_ns = ProtoField.uint64("pdmv2.delta_tlr_ns", "Delta Time Last Received, nanoseconds", base.DEC),
    dtls_ns = ProtoField.uint64("pdmv2.delta_tls_ns", "Delta Time Last Sent, nanoseconds", base.DEC),
}
for _, field in pairs(f) do
    table.insert(pdmv2.fields, field)
end

local function expert_info(name, text, group, severity)
    local info = ProtoExpert.new("pdmv2." .. name .. ".expert", text, group, severity)
    return info
end
local wrong_len = expert_info("len", "Length of no form", expert.group.MALFORMED, expert.severity.ERROR)
local wrong_version = expert_info("version", "Version of no form", expert.group.MALFORMED, expert.severity.ERROR)
local second = expert_info("second", "A second PDM option", expert.group.MALFORMED, expert.severity.ERROR)
local overrun = expert_info("overrun", "Goes on behind its header", expert.group.MALFORMED, expert.severity.ERROR)
local reserved_set = expert_info("reserved", "Reserved bits are set", expert.group.PROTOCOL, expert.severity.NOTE)
local closed = expert_info("closed", "Not opened", expert.group.DECRYPTION, expert.severity.NOTE)
local ambiguous = expert_info("ambiguous", "The key log has this secret under other names too", expert.group.DECRYPTION,
    expert.severity.NOTE)
pdmv2.experts = { wrong_len, wrong_version, second, overrun, reserved_set, closed, ambiguous }

local field_src, field_dst = Field.new("ipv6.src"), Field.new("ipv6.dst")
local field_segments = Field.new("ipv6.routing.segleft")

-- Floor of value * 2^scale attoseconds in nanoseconds: 10^9 is 2^9 * 1953125, and numbers hold whole numbers to 2^53.
local function nanoseconds(value, scale)
    local divisor = 1953125
    if scale < 9 then
        return 0
    end
    local quotient, rest = math.floor(value / divisor), value % divisor
    for _ = 1, scale - 9 do
        quotient, rest = quotient * 2, rest * 2
        if rest >= divisor then
            quotient, rest = quotient + 1, rest - divisor
        end
    end
    return math.min(quotient, 2 ^ 63)
end

local function uint64(number)
    return UInt64.new(number % 2 ^ 32, math.floor(number / 2 ^ 32))
end

local function duration(ns)
    if ns >= 1e9 then
        return string.format("%.6f s", ns / 1e9)
    elseif ns >= 1e6 then
        return string.format("%.6f ms", ns / 1e6)
    elseif ns >= 1e3 then
        return string.format("%.3f us", ns / 1e3)
    end
    return string.format("%d ns", ns)
end

local function delay(tree, range, field, value, scale)
    local ns = nanoseconds(value, scale)
    tree:add(field, range, uint64(ns)):append_text(" (" .. duration(ns) .. ")"):set_generated()
    return ns
end

-- Metrics that stand in the packet, or come from the octets of an opened one. Both have the same order but for the pointer.
local function metrics(tree, range, octets, with_pointer)
    local function number(at, len)
        local n = 0
        for i = at, at + len - 1 do
            n = n * 256 + octets:byte(i + 1)
        end
        return n
    end
    local shift = with_pointer and 4 or 0
    local m = {
        scale_dtlr = number(0, 1),
        scale_dtls = number(1, 1),
        psntp = number(2 + shift, 2),
        psnlr = number(4 + shift, 2),
        delta_tlr = number(6 + shift, 2),
        delta_tls = number(8 + shift, 2),
    }
    if with_pointer then
        tree:add(f.pointer, range(2, 4), number(2, 4))
    end
    tree:add(f.psntp, range(2 + shift, 2), m.psntp)
    tree:add(f.psnlr, range(4 + shift, 2), m.psnlr)
    tree:add(f.scale_dtlr, range(0, 1), m.scale_dtlr)
    tree:add(f.delta_tlr, range(6 + shift, 2), m.delta_tlr)
    m.dtlr_ns = delay(tree, range(6 + shift, 2), f.dtlr_ns, m.delta_tlr, m.scale_dtlr)
    tree:add(f.scale_dtls, range(1, 1), m.scale_dtls)
    tree:add(f.delta_tls, range(8 + shift, 2), m.delta_tls)
    m.dtls_ns = delay(tree, range(8 + shift, 2), f.dtls_ns, m.delta_tls, m.scale_dtls)
    return m
end

-- The packet's 5-tuple as the key schedule takes it (profile, section 2); nil: it cannot be told here.
local function five_tuple(tvb, next_header, at)
    local sources, destinations = { field_src() }, { field_dst() }
    local source, destination = sources[#sources], destinations[#destinations]
    if not source or not destination then
        return nil
    end
    -- The final destination would have to be looked for in the Routing header.
    local segments = { field_segments() }
    if #segments > 0 and segments[#segments].value > 0 then
        return nil
    end
    local walked = 0
    while next_header == 0 or next_header == 43 or next_header == DEST_OPTS do
        if walked == 16 or tvb:len() < at + 8 then
            return nil
        end
        next_header, at = tvb(at, 1):uint(), at + 8 * (tvb(at + 1, 1):uint() + 1)
        walked = walked + 1
    end
    local ports = "\0\0\0\0"
    local with_ports = next_header == 6 or next_header == 17 or next_header == 33 or next_header == 132 or next_header == 136
    if with_ports then
        if tvb:len() < at + 4 then
            return nil
        end
        ports = tvb(at, 4):raw()
    elseif next_header == 58 then
        if tvb:len() < at + 8 then
            return nil
        end
        local kind = tvb(at, 1):uint()
        if kind == 128 or kind == 129 then
            local identifier = tvb(at + 4, 2):raw()
            ports = identifier .. identifier
        end
    end
    return source.range:raw() .. ports:sub(1, 2) .. destination.range:raw() .. ports:sub(3, 4) .. string.char(next_header)
end

local function encrypted(tree, option, range, summary, tuple)
    tree:add(f.sealed, range(6, 14))
    tree:add(f.tag, range(20, 16))
    local found, why = opening.open(range:raw(), tuple)
    if not found then
        tree:add(f.opened, range, false):set_generated()
        tree:add(f.not_opened, range, true):set_generated()
        option:add_proto_expert_info(closed, "Not opened: " .. why)
        return summary .. ", not opened"
    end
    tree:add(f.opened, range, true):set_generated()
    tree:add(f.node, range, found.node):set_generated()
    tree:add(f.generation, range, found.generation):set_generated()
    tree:add(f.kri, range, found.kri):set_generated()
    if found.ambiguous then
        option:add_proto_expert_info(ambiguous)
    end
    local shown = ByteArray.new(opening.hex(found.text)):tvb("Opened metrics")
    local m = metrics(tree, shown(), found.text, true)
    return string.format("%s, opened, PSNTP %d, DTLR %s", summary, m.psntp, duration(m.dtlr_ns))
end

-- A PDM option at its place in a header. `tuple` gives the 5-tuple when it is needed.
local function dissect_option(tree, range, tuple)
    local len = range(1, 1):uint()
    local form = FORMS[len]
    local option = tree:add(range, "PDM option")
    option:add(f.type, range(0, 1))
    local len_item = option:add(f.len, range(1, 1))
    if not form or range:len() ~= len + 2 then
        option:set_text("PDM option, malformed")
        option:add(f.form, range, "malformed"):set_generated()
        if not form then
            len_item:add_proto_expert_info(wrong_len, string.format("Length %d, expected %s", len, EXPECTED))
        else
            len_item:add_proto_expert_info(overrun,
                string.format("Length %d, and the header has room for %d", len, range:len() - 2))
        end
        return
    end
    if form == "pdm" then
        option:add(f.form, range, form):set_generated()
        local m = metrics(option, range(2, 10), range(2, 10):raw(), false)
        option:set_text(string.format("PDM (RFC 8250), PSNTP %d, DTLR %s", m.psntp, duration(m.dtlr_ns)))
        return
    end
    local version_item = option:add(f.version, range(2, 1))
    local version = range(2, 1):bitfield(0, 4)
    if version ~= VERSION then
        option:set_text("PDM option, malformed")
        option:add(f.form, range, "malformed"):set_generated()
        version_item:add_proto_expert_info(wrong_version, string.format("Version %d, expected %d", version, VERSION))
        return
    end
    option:add(f.form, range, form):set_generated()
    local reserved = option:add(f.reserved, range(2, 2))
    if range(2, 2):bitfield(4, 12) ~= 0 then
        reserved:add_proto_expert_info(reserved_set)
    end
    option:add(f.prseq, range(4, 2))
    option:add(f.flag, range(4, 2))
    local summary = "PDMv2 " .. (form == "clear" and "in clear" or "encrypted")
    if form == "clear" then
        local m = metrics(option, range(6, 14), range(6, 14):raw(), true)
        summary = string.format("%s, PSNTP %d, DTLR %s", summary, m.psntp, duration(m.dtlr_ns))
    else
        summary = encrypted(option, option, range, summary, tuple())
    end
    option:set_text(summary)
end

-- Where the PDM options of a Destination Options header are; nil: it has none, or cannot be walked.
local function options_of(tvb, header_len)
    local found, at = {}, 2
    local any = false
    while at < header_len do
        local kind = tvb(at, 1):uint()
        local len = 1
        if kind ~= 0 then
            if at + 1 >= header_len then
                return any and found or nil
            end
            len = 2 + tvb(at + 1, 1):uint()
        end
        any = any or kind == OPTION
        table.insert(found, { kind = kind, at = at, len = math.min(len, header_len - at) })
        at = at + len
    end
    return any and found or nil
end

local ip_proto = DissectorTable.get("ip.proto")
local built_in = ip_proto:get_dissector(DEST_OPTS)

function pdmv2.dissector(tvb, pinfo, tree)
    local header_len = tvb:len() >= 8 and 8 * (tvb(1, 1):uint() + 1) or 0
    local options = header_len > 0 and header_len <= tvb:len() and options_of(tvb, header_len)
    if not options then
        -- Nothing of ours: as without this file.
        return built_in:call(tvb, pinfo, tree)
    end
    local next_header = tvb(0, 1):uint()
    local header = tree:add(pdmv2, tvb(0, header_len), "Destination Options for IPv6, with PDM")
    header:add(f.next, tvb(0, 1))
    header:add(f.header_len, tvb(1, 1))
    local seen = 0
    local function tuple()
        return five_tuple(tvb, next_header, header_len)
    end
    for _, option in ipairs(options) do
        local range = tvb(option.at, option.len)
        if option.kind == OPTION then
            seen = seen + 1
            dissect_option(header, range, tuple)
            if seen == 2 then
                header:add_proto_expert_info(second)
            end
        elseif option.kind > 1 then
            header:add(f.other, range)
        end
    end
    if header_len == tvb:len() then
        return header_len
    end
    local rest = tvb(header_len):tvb()
    if ip_proto:try(next_header, rest, pinfo, tree) == 0 then
        Dissector.get("data"):call(rest, pinfo, tree)
    end
    return tvb:len()
end

function pdmv2.prefs_changed()
    opening.use(pdmv2.prefs.key_log, pdmv2.prefs.side_file, pdmv2.prefs.kri_max)
end

function pdmv2.init()
    opening.use(pdmv2.prefs.key_log, pdmv2.prefs.side_file, pdmv2.prefs.kri_max)
end

ip_proto:set(DEST_OPTS, pdmv2)
