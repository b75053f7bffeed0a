-- Opens sealed PDMv2 options, for pdmv2.lua: key log, key schedule (profile, section 5), AES-GCM. All of it is Lua, since
-- Wireshark has had ciphers for Lua since few versions, and Debian's has none. An option has 14 octets: it takes no time.
-- What it does not do (ChaCha20Poly1305, HKDF of SHA-384 and SHA-512), 'pdmv2 decode --wireshark' does.

local M = {}

local PATIENCE = 64
local AHEAD = 8

-- Bits: operators since Lua 5.3, a library before it. Operators would not even load there.
local band, bxor, rshift, ror
if bit32 then
    band, bxor, rshift, ror = bit32.band, bit32.bxor, bit32.rshift, bit32.rrotate
else
    band = load("return function(a, b) return a & b end")()
    bxor = load("return function(a, b, c) return a ~ b ~ (c or 0) end")()
    rshift = load("return function(a, n) return (a & 0xFFFFFFFF) >> n end")()
    ror = load("return function(a, n) a = a & 0xFFFFFFFF; return ((a >> n) | (a << (32 - n))) & 0xFFFFFFFF end")()
end
local WORD = 2 ^ 32
local char, byte, rep = string.char, string.byte, string.rep
local unpack = table.unpack

local function be32(n)
    n = n % WORD
    return char(math.floor(n / 16777216) % 256, math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256)
end

local function word(s, at)
    local a, b, c, d = byte(s, at, at + 3)
    return ((a * 256 + b) * 256 + c) * 256 + d
end

local function from_hex(digits)
    return (digits:gsub("%x%x", function(pair) return char(tonumber(pair, 16)) end))
end

function M.hex(octets)
    return (octets:gsub(".", function(o) return string.format("%02x", byte(o)) end))
end

-- SHA-256 (FIPS 180-4); its constants are the first bits of the roots of the first primes.
local K, H0 = {}, {}
do
    local function fraction(x)
        return math.floor((x - math.floor(x)) * WORD)
    end
    local prime, count = 2, 0
    while count < 64 do
        local is_prime = true
        for d = 2, math.floor(math.sqrt(prime)) do
            is_prime = is_prime and prime % d ~= 0
        end
        if is_prime then
            count = count + 1
            K[count] = fraction(prime ^ (1 / 3))
            if count <= 8 then
                H0[count] = fraction(prime ^ 0.5)
            end
        end
        prime = prime + 1
    end
end

local function sha256(text)
    local len = #text
    text = text .. "\128" .. rep("\0", (55 - len) % 64) .. be32(math.floor(len * 8 / WORD)) .. be32(len * 8)
    local h, w = { unpack(H0) }, {}
    for start = 1, #text, 64 do
        for i = 1, 16 do
            w[i] = word(text, start + 4 * (i - 1))
        end
        for i = 17, 64 do
            local x, y = w[i - 15], w[i - 2]
            local s0 = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
            local s1 = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
            w[i] = (w[i - 16] + s0 + w[i - 7] + s1) % WORD
        end
        local a, b, c, d, e, f, g, z = unpack(h)
        for i = 1, 64 do
            local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
            local choice = bxor(band(e, f), band(WORD - 1 - e, g))
            local t1 = z + s1 + choice + K[i] + w[i]
            local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
            local majority = bxor(band(a, b), band(a, c), band(b, c))
            z, g, f, e, d, c, b, a = g, f, e, (d + t1) % WORD, c, b, a, (t1 + s0 + majority) % WORD
        end
        for i, v in ipairs({ a, b, c, d, e, f, g, z }) do
            h[i] = (h[i] + v) % WORD
        end
    end
    local out = {}
    for i = 1, 8 do
        out[i] = be32(h[i])
    end
    return table.concat(out)
end

local function xor_octets(text, with)
    return (text:gsub(".", function(o) return char(bxor(byte(o), with)) end))
end

local function hmac(key, text)
    key = key .. rep("\0", 64 - #key)
    return sha256(xor_octets(key, 0x5C) .. sha256(xor_octets(key, 0x36) .. text))
end

-- LabeledExpand of RFC 9180, section 4.
local function expand(secret, suite, label, info, len)
    info = char(math.floor(len / 256), len % 256) .. "HPKE-v1" .. suite .. label .. info
    local out, block, i = "", "", 1
    while #out < len do
        block = hmac(secret, block .. info .. char(i))
        out, i = out .. block, i + 1
    end
    return out:sub(1, len)
end

-- AES (FIPS 197), for encrypting alone.
local SBOX = {}
local function double(x)
    x = x * 2
    return x > 255 and bxor(x - 256, 0x1B) or x
end
do
    local log, power, x = {}, {}, 1
    for i = 0, 254 do
        power[i], log[x] = x, i
        x = bxor(x, double(x))
    end
    for i = 0, 255 do
        local inverse = i == 0 and 0 or power[(255 - log[i]) % 255]
        local s, turned = inverse, inverse
        for _ = 1, 4 do
            turned = turned * 2
            turned = turned > 255 and turned - 255 or turned
            s = bxor(s, turned)
        end
        SBOX[i] = bxor(s, 0x63)
    end
end

local function round_keys(key)
    local w, n = { byte(key, 1, -1) }, #key
    local rounds, constant = n / 4 + 6, 1
    for at = n, 16 * (rounds + 1) - 4, 4 do
        local t = { w[at - 3], w[at - 2], w[at - 1], w[at] }
        if at % n == 0 then
            t = { bxor(SBOX[t[2]], constant), SBOX[t[3]], SBOX[t[4]], SBOX[t[1]] }
            constant = double(constant)
        elseif n == 32 and at % n == 16 then
            t = { SBOX[t[1]], SBOX[t[2]], SBOX[t[3]], SBOX[t[4]] }
        end
        for i = 1, 4 do
            w[at + i] = bxor(w[at + i - n], t[i])
        end
    end
    return w, rounds
end

local function encrypt(w, rounds, block)
    local s = { byte(block, 1, 16) }
    for i = 1, 16 do
        s[i] = bxor(s[i], w[i])
    end
    for round = 1, rounds do
        local t = {}
        for i = 0, 15 do
            -- ShiftRows: row i % 4 comes from so many columns further on.
            t[i] = SBOX[s[(i + 4 * (i % 4)) % 16 + 1]]
        end
        for column = 0, 12, 4 do
            local a, b, c, d = t[column], t[column + 1], t[column + 2], t[column + 3]
            if round < rounds then
                local all = bxor(bxor(a, b), bxor(c, d))
                a, b, c, d = bxor(bxor(a, all), double(bxor(a, b))), bxor(bxor(b, all), double(bxor(b, c))),
                    bxor(bxor(c, all), double(bxor(c, d))), bxor(bxor(d, all), double(bxor(d, a)))
            end
            s[column + 1], s[column + 2], s[column + 3], s[column + 4] = a, b, c, d
        end
        for i = 1, 16 do
            s[i] = bxor(s[i], w[16 * round + i])
        end
    end
    return char(unpack(s))
end

-- GHASH (SP 800-38D): four words of 32 bits, the first bit the highest.
local function multiply(x, h)
    local z1, z2, z3, z4 = 0, 0, 0, 0
    local v1, v2, v3, v4 = h[1], h[2], h[3], h[4]
    for i = 1, 4 do
        for b = 31, 0, -1 do
            if rshift(x[i], b) % 2 == 1 then
                z1, z2, z3, z4 = bxor(z1, v1), bxor(z2, v2), bxor(z3, v3), bxor(z4, v4)
            end
            local out = v4 % 2
            v4 = rshift(v4, 1) + v3 % 2 * 2147483648
            v3 = rshift(v3, 1) + v2 % 2 * 2147483648
            v2 = rshift(v2, 1) + v1 % 2 * 2147483648
            v1 = rshift(v1, 1)
            if out == 1 then
                v1 = bxor(v1, 0xE1000000)
            end
        end
    end
    return { z1, z2, z3, z4 }
end

local function words(block)
    return { word(block, 1), word(block, 5), word(block, 9), word(block, 13) }
end

local function ghash(h, blocks)
    local y = { 0, 0, 0, 0 }
    for at = 1, #blocks, 16 do
        local x = words(blocks:sub(at, at + 15))
        for i = 1, 4 do
            y[i] = bxor(y[i], x[i])
        end
        y = multiply(y, h)
    end
    return y
end

-- The text of an option of at most 16 octets under this key; nil: the tag is another.
local function gcm_open(key, nonce, aad, sealed, tag)
    local w, rounds = round_keys(key)
    local h = words(encrypt(w, rounds, rep("\0", 16)))
    local function padded(text)
        return text .. rep("\0", -#text % 16)
    end
    local lengths = be32(0) .. be32(8 * #aad) .. be32(0) .. be32(8 * #sealed)
    local y, mask = ghash(h, padded(aad) .. padded(sealed) .. lengths), words(encrypt(w, rounds, nonce .. be32(1)))
    local expected = words(tag)
    for i = 1, 4 do
        if bxor(y[i], mask[i]) ~= expected[i] then
            return nil
        end
    end
    local stream = encrypt(w, rounds, nonce .. be32(2))
    local text = {}
    for i = 1, #sealed do
        text[i] = char(bxor(byte(sealed, i), byte(stream, i)))
    end
    return table.concat(text)
end

-- What was read: secrets of the key log, metrics of the side file by tag; what was found, by option and 5-tuple.
local secrets, side, results, flows = {}, {}, {}, {}
local kri_max, skipped, problem = 8, 0, nil

local KEY_LENGTHS = { ["0001"] = 16, ["0002"] = 32 }

local function read_key_log(path)
    local file, why = io.open(path, "r")
    if not file then
        problem = "the key log cannot be read: " .. tostring(why)
        return
    end
    local known = {}
    for line in file:lines() do
        local generation, scope, id, kem, kdf, aead, digits =
            line:match("^PDMV2 (%d+) (%l+) ([%x-]+) (%x%x%x%x)%-(%x%x%x%x)%-(%x%x%x%x) (%x+)\r?$")
        if generation and kdf == "0001" and KEY_LENGTHS[aead] and #digits == 64 then
            local suite = "HPKE" .. from_hex(kem .. kdf .. aead)
            local name = suite .. from_hex(digits)
            local secret = known[name]
            if secret then
                secret.ambiguous = secret.ambiguous or secret.generation ~= tonumber(generation) or secret.id ~= id
            else
                secret = { generation = tonumber(generation), scope = scope, id = id:lower(), suite = suite,
                    octets = from_hex(digits), key_len = KEY_LENGTHS[aead] }
                secret.node = scope == "node" and secret.id or scope == "shared" and "shared" or "client " .. secret.id
                known[name] = secret
                table.insert(secrets, secret)
            end
        elseif line:match("^PDMV2 ") then
            skipped = skipped + 1
        end
    end
    file:close()
end

local function read_side_file(path)
    local file, why = io.open(path, "r")
    local head = file and file:read("*l")
    if not head or not head:match("^# pdmv2 decode %-%-wireshark, version 1") then
        problem = "the side file is none that 'pdmv2 decode --wireshark' has written" .. (why and ": " .. why or "")
        return
    end
    for line in file:lines() do
        local tag, text, generation, kri, node = line:match("^(%x+) (%x+) (%d+) (%d+) (.+)$")
        if tag and #tag == 32 and #text == 28 then
            side[tag] = { text = from_hex(text), generation = tonumber(generation), kri = tonumber(kri), node = node }
        end
    end
    file:close()
end

-- Reads the files anew; an empty name is none.
function M.use(key_log, side_file, most)
    secrets, side, results, flows, skipped, problem = {}, {}, {}, {}, 0, nil
    kri_max = most
    if key_log ~= "" then
        read_key_log(key_log)
    end
    if side_file ~= "" then
        read_side_file(side_file)
    end
end

local function try(secret, kri, tuple, option)
    if kri % 2 ~= byte(option, 6) % 2 then
        return nil
    end
    local session = expand(secret.octets, secret.suite, "pdmv2_session", tuple .. be32(kri), secret.key_len + 12)
    local key, base = session:sub(1, secret.key_len), { byte(session, secret.key_len + 1, -1) }
    local prseq = math.floor((byte(option, 5) * 256 + byte(option, 6)) / 2)
    base[11], base[12] = bxor(base[11], math.floor(prseq / 256)), bxor(base[12], prseq % 256)
    local text = gcm_open(key, char(unpack(base)), option:sub(1, 6), option:sub(7, 20), option:sub(21, 36))
    return text and { text = text, generation = secret.generation, kri = kri, node = secret.node,
        ambiguous = secret.ambiguous, secret = secret }
end

local function search(option, tuple)
    local flow = flows[tuple] or { failures = 0 }
    flows[tuple] = flow
    if flow.secret then
        for _, step in ipairs({ 0, 1, -1, 2, 3, 4, 5, 6, 7, AHEAD }) do
            local found = flow.kri + step >= 0 and try(flow.secret, flow.kri + step, tuple, option)
            if found then
                flow.kri = found.kri
                return found
            end
        end
    end
    -- A capture of other boxes' traffic must not take for ever.
    if flow.failures >= PATIENCE then
        return nil
    end
    local source, destination = M.hex(tuple:sub(1, 16)), M.hex(tuple:sub(19, 34))
    for _, secret in ipairs(secrets) do
        if secret.scope ~= "client" or secret.id == source or secret.id == destination then
            for kri = 0, kri_max do
                local found = try(secret, kri, tuple, option)
                if found then
                    flow.secret, flow.kri = secret, kri
                    return found
                end
            end
        end
    end
    flow.failures = flow.failures + 1
    return nil
end

-- What is in an option, from its type on, of a packet of this 5-tuple (nil: not known); or nil, and why not.
function M.open(option, tuple)
    local noted = side[M.hex(option:sub(21, 36))]
    if noted then
        return noted
    end
    if #secrets == 0 then
        return nil, problem or skipped > 0 and "the key log has suites that only 'pdmv2 decode --wireshark' opens"
            or "set a key log, or a side file, in the preferences of PDMV2"
    end
    if not tuple then
        return nil, "the packet's addresses and ports cannot be told here; 'pdmv2 decode --wireshark' may"
    end
    local name = option .. tuple
    if results[name] == nil then
        results[name] = search(option, tuple) or false
    end
    if results[name] then
        return results[name]
    end
    return nil, "no secret of the key log opens it"
end

return M
