-- tg.json.encode and decode, against lua-cjson over generated values.
local cjson = require("cjson")
local raw = require("raw")
local server = require("server")

local SCRIPT = [=[
local tg = require("tidegate")
return { limits = { script = 30, response_timeout = 60 }, routes = {
  { "/eval", post = function(request)
    local run = assert(load("local tg = ... " .. request.body:all()))
    return { headers = { ["Content-Type"] = "text/plain" }, body = tostring(run(tg)) }
  end },
  { "/echo", post = function(request)
    local value, why = tg.json.decode(request.body:all())
    if value == nil then return { status = 422, body = why } end
    return { body = { value } }
  end },
} }
]=]

-- Values at random, from a seed: JSON has them all.
local function generator(seed)
  local state = seed
  local function random(n)
    state = (state * 6364136223846793005 + 1442695040888963407) & math.maxinteger
    return (state >> 33) % n + 1
  end
  local function text()
    local parts = {}
    for i = 1, random(12) - 1 do
      parts[i] = ({ "a", "é", "\n", "\"", "\\", "\u{1F30A}", "\t", "\u{7f}", "/", "\1", " ", "z" })[random(12)]
    end
    return table.concat(parts)
  end
  local function value(depth)
    local kind = random(depth > 0 and 8 or 6)
    if kind == 1 then return text() end
    if kind == 2 then return random(2) == 1 end
    if kind == 3 then return random(1000000) - 500000 end
    if kind == 4 then return (random(1000000) - 500000) / 1024 end
    if kind == 5 then return tonumber(("%.14g"):format(random(1000) * 1e300)) end -- as cjson prints
    if kind == 6 then return cjson.null end
    local list = {}
    if kind == 7 then
      for i = 1, random(6) do list[i] = value(depth - 1) end
    else
      for _ = 1, random(6) do list["k" .. text()] = value(depth - 1) end
    end
    return list
  end
  return value
end

describe("tg.json", function()
  local s

  setup(function() s = server.start({ script = SCRIPT, args = { "--quiet" } }) end)
  teardown(function() s:stop() end)

  local function post(path, body)
    return raw.request(s.port, ("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"):format(path, #body, body), 20)
  end

  local function eval(code) return post("/eval", code).body end

  it("prints what lua-cjson reads back as the same, for generated values (B17)", function()
    for seed = 1, 300 do
      local value = generator(seed)(4)
      local answer = post("/echo", cjson.encode({ value }))
      assert.equal(200, answer.status, "seed " .. seed)
      local read = cjson.decode(answer.body)[1]
      assert.same({ value }, read, "seed " .. seed)
    end
  end)

  it("encodes as bodies print, with sequences inside", function()
    assert.equal('{"a":[1,2.5,"x"],"b":{},"c":[],"d":null,"e":[1,2]}', eval([[
      return tg.json.encode({ a = { 1, 2.5, "x" }, b = tg.json.object(), c = {}, d = tg.json.null,
        e = tg.generate(function(yield) yield(1) tg.sleep(0.001) yield(2) end) })]]))
    assert.equal('"text"', eval('return tg.json.encode("text")'))
    assert.equal("null", eval("return tg.json.encode(nil)"))
    assert.equal("300003", eval('return #tg.json.encode({ ("x"):rep(299999) })'))
  end)

  it("says what cannot be encoded, and where", function()
    assert.matches("$.a[2]: a function cannot be printed", eval(
      "return select(2, pcall(tg.json.encode, { a = { 1, print } }))"), 1, true)
    assert.matches("contains itself", eval("local t = {} t[1] = t return select(2, pcall(tg.json.encode, t))"))
  end)

  it("decodes integers as such, null as tg.json.null, and says what is no JSON", function()
    assert.equal("integer float true integer", eval([=[
      local v = tg.json.decode('{"a":1,"b":1.5,"n":null,"l":[[-3]]}')
      return table.concat({ math.type(v.a), math.type(v.b), tostring(v.n == tg.json.null), math.type(v.l[1][1]) }, " ")]=]))
    assert.equal("true", eval('return tg.json.decode("null") == tg.json.null'))
    assert.equal("false", eval('return tg.json.decode("false")'))
    for _, text in ipairs({ "", "{", "[1,]", "nul", "1 2", "[NaN]", "[1e]", '"\\x"', '{"a" 1}', '"\xff"', ("["):rep(500) }) do
      local answer = post("/echo", text)
      assert.equal(422, answer.status, text)
      assert.is_true(#answer.body > 5)
    end
    assert.matches("string expected", eval("return select(2, pcall(tg.json.decode, 5))"))
  end)

  it("decodes what prints as the text that it was (B17)", function()
    for _, text in ipairs({ "[]", "{}", '{"a":[],"b":{},"c":[{}],"d":[[]]}', "[null]", '{"":null}', "null", "true",
      '"\u{1f30a}é"', "9007199254740993", "-9223372036854775808", "9223372036854775807", "1.0", "-0.0", "5e-324",
      "1e+15", '"\\b\\f\\n\\r\\t\\"\\\\/\\u0000"', '{"1":[1,2],"2":"x"}', ("["):rep(128) .. ("]"):rep(128) }) do
      assert.equal(text, eval(("return tg.json.encode((tg.json.decode(%q)))"):format(text)))
    end
  end)

  it("decodes each escape, and white space everywhere", function()
    assert.equal('["/\u{e9}\u{20ac}\u{1f30a}\u{1f30a}A"]',
      eval([=[return tg.json.encode(tg.json.decode('["\\/\\u00e9\\u20AC\\ud83c\\udf0a\\uD83C\\uDF0A\\u0041"]'))]=]))
    assert.equal('{"a":[1,{"b":2}],"c":""}',
      eval('return tg.json.encode(tg.json.decode(" \\t\\r\\n{ \\"a\\" : [ 1 , { \\"b\\":2 } ] ,\\n\\"c\\" : \\"\\" } "))'))
    assert.equal("2", eval([=[return tg.json.decode('{"a":1,"a":2}').a]=]))
    assert.equal("float", eval('return math.type(tg.json.decode("9223372036854775808"))'))
    assert.equal("0.1", eval('return tg.json.decode("0.1" .. ("0"):rep(300))'))
  end)

  it("lets go of an object's last field and prints it as an object", function()
    assert.equal('{"o":{}}', eval([=[local v = tg.json.decode('{"o":{"a":1}}') v.o.a = nil return tg.json.encode(v)]=]))
  end)

  it("says at which byte a text is no JSON", function()
    for text, message in pairs({
      ["[1,]"] = "the text is no JSON, at byte 4",
      ["[1"] = "the text is no JSON: it ends too early",
      [""] = "the text is no JSON: it ends too early",
      ["1 2"] = "the text is no JSON, at byte 3",
      ["[01]"] = "the text is no JSON, at byte 3",
      ["[1.]"] = "the text is no JSON, at byte 4",
      ["[+1]"] = "the text is no JSON, at byte 2",
      ["[0x10]"] = "the text is no JSON, at byte 3",
      ["[Infinity]"] = "the text is no JSON, at byte 2",
      ['["\t"]'] = "the text is no JSON, at byte 3",
      ['"\xff"'] = "the text is not UTF-8, at byte 2",
      ['"\xed\xa0\x80"'] = "the text is not UTF-8, at byte 2",
      [("["):rep(129) .. ("]"):rep(129)] = "the text is nested too deeply, at byte 130",
      ["[1e999]"] = "the text has a number that is too large, at byte 2",
      ['["\\ud800"]'] = "the text has half a surrogate pair, at byte 3",
      ['["\\udc00\\ud800"]'] = "the text has half a surrogate pair, at byte 3",
      ['["\\ud800\\u0041"]'] = "the text has half a surrogate pair, at byte 3",
    }) do
      assert.equal(message, eval(("return select(2, tg.json.decode(%q))"):format(text)), text)
    end
  end)

  it("keeps nothing of what it has encoded (B15)", function()
    if server.sanitized then return end
    local code = "for _ = 1, 200 do tg.json.encode({ ('x'):rep(100000) }) end collectgarbage() return 1"
    for _ = 1, 5 do eval(code) end
    local before = s:rss()
    for _ = 1, 10 do eval(code) end
    assert.is_true(s:rss() - before < 4096, s:rss() - before)
  end)
end)
