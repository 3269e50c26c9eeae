-- json_spec.lua - strings and numbers as JSON: read back by lua-cjson, and byte by byte.

local cjson = require("cjson")
local probe = require("probe_body")

--- What `method` prints of value, through a gather of the smallest size.
local function print_by(method, value)
  local body = probe.new(probe.gather(1), { high_water = 1 << 40 })
  local status = body[method](body, value)
  if status ~= "ok" then return nil, status end
  body:finish()
  local parts = {}
  for _, entry in ipairs(body:log()) do
    parts[#parts + 1] = entry:match("^%l%l%l%l (.*)$")
  end
  return table.concat(parts)
end

local function json(value)
  return print_by(type(value) == "string" and "json_string" or "json_number", value)
end

--- The same, without the writer.
local function escaped(s)
  local names = { ["\b"] = "b", ["\t"] = "t", ["\n"] = "n", ["\f"] = "f", ["\r"] = "r" }
  return '"' .. s:gsub('[%z\1-\31"\\]', function(c)
    if c == '"' or c == "\\" then return "\\" .. c end
    return "\\" .. (names[c] or ("u%04x"):format(c:byte()))
  end) .. '"'
end

describe("a JSON string", function()
  it("escapes each control character, quotes and backslashes, and nothing else (B17)", function()
    for byte = 0, 127 do
      local c = string.char(byte)
      assert.equal(escaped(c), json(c))
      assert.equal(c, cjson.decode("[" .. json(c) .. "]")[1])
    end
    assert.equal('"\127\u{2028}\u{2029}/"', json("\127\u{2028}\u{2029}/"))
  end)

  it("does so wherever they stand in words of eight bytes (B17)", function()
    for len = 0, 40 do
      assert.equal('"' .. ("x"):rep(len) .. '"', json(("x"):rep(len)))
      for at = 1, len do
        for _, c in ipairs({ "\0", "\n", "\31", '"', "\\", "é", "!", "#", "[", "]", "\127" }) do
          local s = ("x"):rep(at - 1) .. c .. ("x"):rep(len - at)
          assert.equal(escaped(s), json(s))
          s = ("\1"):rep(at - 1) .. c .. ("!"):rep(len - at)
          assert.equal(escaped(s), json(s))
        end
      end
    end
  end)

  it("keeps valid UTF-8 of every length (B17)", function()
    for _, code in ipairs({ 0x80, 0x7ff, 0x800, 0xfff, 0x1000, 0xd7ff, 0xe000, 0xffff, 0x10000,
      0x3ffff, 0x40000, 0xfffff, 0x100000, 0x10ffff }) do
      for pad = 0, 9 do
        local s = ("x"):rep(pad) .. utf8.char(code) .. "y"
        assert.equal('"' .. s .. '"', json(s))
      end
    end
  end)

  it("puts U+FFFD in the place of each byte that is no UTF-8 (B17)", function()
    local bad = "\u{fffd}"
    for s, wanted in pairs({
      ["\x80"] = bad,
      ["a\xffb"] = "a" .. bad .. "b",
      ["\xc0\xaf"] = bad .. bad,
      ["\xc1\xbf"] = bad .. bad,
      ["\xc3"] = bad,
      ["\xc3("] = bad .. "(",
      ["\xe0\x9f\xbf"] = bad:rep(3),
      ["\xed\xa0\x80"] = bad:rep(3),
      ["\xe2\x82"] = bad:rep(2),
      ["\xe2\x82x"] = bad:rep(2) .. "x",
      ["\xf0\x8f\xbf\xbf"] = bad:rep(4),
      ["\xf4\x90\x80\x80"] = bad:rep(4),
      ["\xf5\x80\x80\x80"] = bad:rep(4),
      ["\xf0\x9f\x98"] = bad:rep(3),
      ["\xf0\x9f\x98\n"] = bad:rep(3) .. "\\n",
    }) do
      assert.equal('"' .. wanted .. '"', json(s))
    end
  end)

  it("longer than a gather is the same as in one piece (B17)", function()
    for _, unit in ipairs({ "x", "\1", "é", "漢", "\u{1f600}", "\xff", 'ab"cd\\efghijklmnop' }) do
      for _, len in ipairs({ 680, 681, 4093, 4094, 4095, 4096, 4097, 20000 }) do
        local s = "." .. unit:rep(len)
        local wanted = unit == "\xff" and '".' .. ("\u{fffd}"):rep(len) .. '"' or escaped(s)
        assert.is_true(json(s) == wanted, ("%q times %d"):format(unit, len))
      end
    end
  end)

  it("of random bytes reads back as what it was, in valid UTF-8 (B17)", function()
    math.randomseed(17)
    local pieces = { '"', "\\", "\0", "\n", "é", "漢", "\u{10ffff}", "\xff", "\xe2\x82", "x",
      "xxxxxxxx", "0123456789abcdef" }
    for _ = 1, 3000 do
      local parts = {}
      for i = 1, math.random(0, 40) do
        local any = string.char(math.random(0, 255))
        parts[i] = math.random(4) == 1 and any or pieces[math.random(#pieces)]
      end
      local s = table.concat(parts)
      local text = json(s)
      assert.is_truthy(utf8.len(text))
      assert.is_nil(text:find("[%z\1-\31]"))
      local back = cjson.decode("[" .. text .. "]")[1]
      if utf8.len(s) then
        assert.equal(s, back)
      else
        assert.equal((s:gsub("[\128-\255]", "")), (back:gsub("[\128-\255]", "")))
      end
    end
  end)
end)

describe("a JSON number", function()
  it("is an integer in full (B17)", function()
    for _, n in ipairs({ 0, 1, 9, 10, 99, 100, 999, 1000, 12345, 99999, 100000, 1234567, 99999999,
      123456789, 1 << 32, math.maxinteger, math.mininteger, math.mininteger + 1 }) do
      assert.equal(("%d"):format(n), json(n))
      assert.equal(("%d"):format(-n), json(-n))
    end
    for shift = 0, 63 do
      assert.equal(("%d"):format(1 << shift), probe.format(1 << shift))
    end
  end)

  it("is a float that stays one (B17)", function()
    for _, pair in ipairs({
      { 0.0, "0.0" }, { -0.0, "-0.0" }, { 1.0, "1.0" }, { -1.0, "-1.0" }, { 1.5, "1.5" },
      { 0.1, "0.1" }, { -0.25, "-0.25" }, { 19.99, "19.99" }, { 0.0001, "0.0001" },
      { 1e15, "1e+15" }, { 1e100, "1e+100" }, { 1e-7, "1e-07" }, { 5e-324, "5e-324" },
      { 123456789012345.0, "123456789012345.0" }, { 0.1 + 0.2, "0.30000000000000004" },
      { 2.0 ^ 53, "9007199254740992.0" }, { 1 / 3, "0.3333333333333333" },
      { 1.7976931348623157e308, "1.7976931348623157e+308" },
    }) do
      assert.equal(pair[2], probe.format(pair[1]))
      assert.equal(pair[2], json(pair[1]))
    end
  end)

  it("reads back equal, and is no longer than any that does (B17)", function()
    math.randomseed(18)
    for i = 1, 20000 do
      local n
      if i % 3 == 0 then
        n = string.unpack("d", string.pack("I8", math.random(0)))
      elseif i % 3 == 1 then
        n = math.random(-10 ^ 9 // 1 | 0, 10 ^ 9 // 1 | 0) / 10.0 ^ math.random(0, 12)
      else
        n = math.random() * 10.0 ^ math.random(-6, 16)
      end
      if n == n and math.abs(n) ~= math.huge then
        local text = probe.format(n)
        assert.equal(n, tonumber(text))
        assert.equal("float", math.type(tonumber(text)))
        assert.equal(n, cjson.decode("[" .. text .. "]")[1])
        local digits = 1
        while tonumber(("%." .. digits .. "g"):format(n)) ~= n do
          digits = digits + 1
        end
        local printed = #text:gsub("e.*", ""):gsub("%D", ""):gsub("^0+", ""):gsub("0+$", "")
        assert.is_true(printed <= digits, text .. " has more digits than it needs")
      end
    end
  end)

  it("is neither NaN nor an infinity: nothing is printed (B17)", function()
    for _, n in ipairs({ 0 / 0, -(0 / 0), math.huge, -math.huge }) do
      assert.same({ nil, "invalid" }, { json(n) })
      assert.equal("", probe.format(n))
    end
  end)

  it("has a point, whatever the locale's is (B17)", function()
    local folder = require("harness").mkdtemp()
    local source <close> = assert(io.open(folder .. "/source", "w"))
    source:write('LC_NUMERIC\ndecimal_point ","\nthousands_sep ""\ngrouping -1\nEND LC_NUMERIC\n')
    source:flush()
    -- It warns of the categories that are not there, and says so by its exit code.
    os.execute(("localedef -c -i %s/source %s/xx_COMMA 2>/dev/null"):format(folder, folder))
    probe.locale_path(folder)
    local before = os.setlocale(nil, "numeric")
    local found = os.setlocale("xx_COMMA", "numeric")
    local by_lua = ("%.1f"):format(1.5)
    local texts = { probe.format(0.1 + 0.2), probe.format(1.5e300), probe.format(2.5) }
    os.setlocale(before, "numeric")
    os.execute("rm -r " .. folder)
    assert.equal("xx_COMMA", found)
    assert.equal("1,5", by_lua)
    assert.same({ "0.30000000000000004", "1.5e+300", "2.5" }, texts)
  end)
end)
