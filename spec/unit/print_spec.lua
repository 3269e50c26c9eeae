-- print_spec.lua - tables and sequences as text, in a task, to a client that may be slow.

local cjson = require("cjson")
local probe = require("probe_print")

--- What `return <code>` prints, which has to go well; nothing is slow.
local function print_of(code, options)
  local p = probe.new()
  local result, message = p:run("return " .. code, options)
  assert.same({ "done", "" }, { result, message })
  return p:output()
end

--- The error of `code`, and what was printed before it.
local function error_of(code, options)
  local p = probe.new()
  local result, message = p:run(code, options)
  assert.equal("failed", result)
  return message, p:output()
end

local function prints(wanted, code, options)
  assert.equal(wanted, print_of(code, options))
end

local function fails(pattern, code, options)
  assert.matches(pattern, (error_of("return " .. code, options)))
end

describe("a table", function()
  it("prints lists, and maps with sorted keys (B17)", function()
    prints('[1,2.5,"x",true,false,null]', '{ 1, 2.5, "x", true, false, tg.json.null }')
    prints('{"":0,"A":1,"a":2,"a\\u0000b":3,"aa":4,"b":5,"é":6}',
      '{ b = 5, aa = 4, a = 2, A = 1, ["é"] = 6, [""] = 0, ["a\\0b"] = 3 }')
    prints('{"a":[{"b":[[],{"c":1}]}]}', "{ a = { { b = { {}, { c = 1 } } } } }")
  end)

  it("prints numbers as keys by their text (B17)", function()
    prints('{"-1":"c","1.5":"b","10":"e","2":"a","x":"d"}',
      '{ [2] = "a", [1.5] = "b", [-1] = "c", x = "d", [10] = "e" }')
  end)

  it("has its fields in order whatever their number (B17)", function()
    for _, n in ipairs({ 1, 2, 23, 24, 25, 26, 500 }) do
      local text = print_of(("(function() local t = {} for i = 1, %d do t['k' .. i] = i end return t end)()"):format(n))
      local keys = {}
      for key in text:gmatch('"(k%d+)":') do keys[#keys + 1] = key end
      assert.equal(n, #keys)
      for i = 2, n do assert.is_true(keys[i - 1] < keys[i]) end
      for i = 1, n do assert.equal(i, cjson.decode(text)["k" .. i]) end
    end
  end)

  it("has them in order when a script has replaced table.sort (B17)", function()
    local text = print_of([[(function()
      table.sort = error
      local t = {}
      for i = 99, 10, -1 do t["k" .. i] = i end
      return t
    end)()]])
    assert.matches('^{"k10":10,"k11":11,', text)
    assert.matches(',"k98":98,"k99":99}$', text)
  end)

  it("is [] when empty, unless it is marked (B17)", function()
    prints("[]", "{}")
    prints('{"a":[],"b":{},"c":[],"d":{}}',
      "{ a = tg.json.array({}), b = tg.json.object({}), c = tg.json.array(), d = tg.json.object() }")
    prints('{"1":"x","2":"y"}', 'tg.json.object({ "x", "y" })')
    prints("[1,2]", "tg.json.array({ 1, 2 })")
    prints("[]", "tg.json.array(tg.json.array({}))")
    fails("has a metatable already", "tg.json.array(tg.json.object({}))")
  end)

  it("of rows that look alike prints each by its own fields (B17)", function()
    local text = print_of([[(function()
      local rows = {}
      for i = 1, 400 do
        local kind = i % 7
        rows[i] = { id = i, name = "n" .. i, ["k" .. kind] = i, sub = { x = i, y = -i } }
        if kind == 3 then rows[i].name = nil end
        if kind == 4 then rows[i]["naïve\n"] = 1 end
        if kind == 5 then rows[i][("l"):rep(600)] = 1 end
        if kind == 6 then rows[i][i + 1] = i end
      end
      return rows
    end)()]])
    for i, row in ipairs(cjson.decode(text)) do
      local wanted = { id = i, name = "n" .. i, ["k" .. i % 7] = i, sub = { x = i, y = -i } }
      if i % 7 == 3 then wanted.name = nil end
      if i % 7 == 4 then wanted["naïve\n"] = 1 end
      if i % 7 == 5 then wanted[("l"):rep(600)] = 1 end
      if i % 7 == 6 then wanted[tostring(i + 1)] = i end
      assert.same(wanted, row)
    end
    for fields in text:gmatch("{[^{}]*") do
      local last = ""
      for key in fields:gmatch('"([^"]-)":') do
        assert.is_true(last < key)
        last = key
      end
    end
  end)

  it("of rows with fewer fields than others, or names to escape, is no different (B17)", function()
    local text = print_of([[(function()
      local rows = {}
      for i = 1, 100, 4 do
        rows[i] = { x = i, y = i, ["a\nb"] = i }
        rows[i + 1], rows[i + 2], rows[i + 3] = { x = i }, { y = i }, { ["a\nb"] = i }
      end
      return rows
    end)()]])
    local unit = '{"a\\nb":%d,"x":%d,"y":%d},{"x":%d},{"y":%d},{"a\\nb":%d},'
    local wanted = {}
    for i = 1, 100, 4 do wanted[#wanted + 1] = unit:format(i, i, i, i, i, i) end
    assert.equal("[" .. table.concat(wanted):sub(1, -2) .. "]", text)
    local plain = print_of([[(function()
      local rows = {}
      for i = 1, 60, 3 do rows[i], rows[i + 1], rows[i + 2] = { x = i, y = i }, { x = i }, { y = i } end
      return rows
    end)()]])
    assert.equal(20, select(2, plain:gsub('{"x":(%d+),"y":%1},{"x":%1},{"y":%1}', "")))
  end)

  it("prints in a list as it does by itself, whatever it holds and wherever a buffer ends (B17)", function()
    local rows = {
      '{ id = %d, name = "a" }', '{ id = %d, name = "\\1\\"\\\\\\255é" }', '{ id = %d, name = { 1, 2.5, true, "b" } }',
      '{ id = %d, name = { { x = 1 }, { x = 2 }, {} } }', '{ id = %d, name = ("c"):rep(1000) }', '{ id = %d, name = ("\\0"):rep(900) }',
      '{ id = %d, name = ("d"):rep(5000) }', '{ id = %d, name = { { { { { { "deep" } } } } } } }', '{ id = %d }',
      '{ id = %d, name = tg.json.null }', '{ id = %d, name = tg.json.array{} }', '{ id = %d, name = tg.json.object{} }',
      '{ id = %d, name = 1, more = 2 }', '{ %d, "name", { 3, { 4 } } }', '{ id = %d, name = tg.seq(("a b"):gmatch("%%a")) }',
      '{ id = %d, name = { [3] = "c", [2] = "b", [1] = "a" } }', '{ id = %d, name = { ["1"] = "c" } }',
    }
    for _, type in ipairs({ "application/json", "application/edn" }) do
      local list, alone = {}, {}
      for i = 1, 500 do
        list[i] = rows[i % 7 < 5 and i % 5 + 1 or i % #rows + 1]:format(i)
      end
      for i, row in ipairs(list) do
        if i <= 40 or i % 97 == 0 then alone[i] = print_of(row, { as = type, high_water = 1 << 24 }) end
      end
      local text = print_of("{" .. table.concat(list, ",") .. "}", { as = type, high_water = 1 << 24 })
      local at = 2
      for i = 1, #list do
        if alone[i] then
          at = assert(text:find(alone[i], at, true), ("%d: %s"):format(i, list[i])) + #alone[i]
        end
      end
      if type == "application/json" then assert.equal(#list, #cjson.decode(text)) end
    end
  end)

  it("of many rows names the place of what cannot be printed (B17)", function()
    local rows = ("{ id = 1, tags = { 'a' } },"):rep(40)
    fails("^%$%[41%]%.tags%[2%]: NaN and the infinities", "{" .. rows .. "{ id = 2, tags = { 'a', 0/0 } } }")
    fails("^%$%[41%]%.tags: the table is neither", "{" .. rows .. "{ id = 2, tags = { 'a', x = 1 } } }")
    fails("^%$%[41%]%.tags: the list has holes", "{" .. rows .. "{ id = 2, tags = { 'a', nil, 'c' } } }")
  end)

  it("of any shape reads back as it was (B17)", function()
    math.randomseed(20)
    local function make(depth)
      local kind = math.random(depth > 0 and 6 or 4)
      if kind == 1 then return math.random(-1000, 1000) end
      if kind == 2 then return math.random() end
      if kind == 3 then return ("k\n\"é"):rep(math.random(0, 3)) end
      if kind == 4 then return math.random(2) == 1 end
      local t = {}
      for i = 1, math.random(1, 30) do t[kind == 5 and i or "f" .. math.random(99)] = make(depth - 1) end
      return t
    end
    local function code(value)
      if type(value) ~= "table" then return ("%q"):format(value) end
      local parts = {}
      for k, v in pairs(value) do parts[#parts + 1] = ("[%q]=%s"):format(k, code(v)) end
      return "{" .. table.concat(parts, ",") .. "}"
    end
    for _ = 1, 100 do
      local value = { make(4) }
      assert.same(value, cjson.decode(print_of(code(value))))
    end
  end)

  it("is refused where it is neither a list nor a map, with its path (B17)", function()
    fails("^%$%.a%[2%]: the table is neither a list nor a map", "{ a = { 1, { 1, x = 2 } } }")
    fails("^%$: the table is neither", "{ 1, 2, [10] = 3 }")
    fails("^%$: the table is neither", "tg.json.array({ x = 1 })")
    fails("^%$: the list has holes", "{ 1, nil, 3 }")
  end)

  it("is refused where it contains itself, with its path (B17)", function()
    fails("^%$%.a%.b: the table contains itself", "(function() local t = { a = {} } t.a.b = t return t end)()")
    fails("%$%[1%]%.g%[2%]: the table contains itself", [[(function()
      local t = {}
      t.g = tg.generate(function(yield) yield(1) yield(t) end)
      return { t }
    end)()]])
    prints("[[1],[1]]", "(function() local t = { 1 } return { t, t } end)()")
  end)

  it("is refused past a depth of 128, sequences counted (B17)", function()
    local code = "(function() local t = 1 for _ = 1, %d do t = { t } end return t end)()"
    prints(("["):rep(128) .. "1" .. ("]"):rep(128), code:format(128))
    fails("nested deeper than 128", code:format(129))
    fails("nested deeper than 128", [[(function()
      local function generate() return tg.generate(function(yield) yield({ generate() }) end) end
      return generate()
    end)()]])
  end)

  it("is refused with values and keys that have no text, with their path (B17)", function()
    fails("^%$%.a%[3%]: NaN", "{ a = { 1, 2, 0 / 0 } }")
    fails("^%$%[1%]: NaN and the infinities", "{ 1 / 0 }")
    fails("^%$%.f: a function cannot be printed", "{ f = print }")
    fails("^%$%.h: a FILE%* cannot be printed", "{ h = io.stdout }")
    fails("^%$%.t: a table as a key", "{ t = { [{}] = 1 } }")
    fails("^%$: a boolean as a key", "{ [true] = 1 }")
    fails("^%$: an infinity as a key", "{ [math.huge] = 1 }")
    fails('^%$: two keys, a number and a string, would both be "2"', '{ [2] = 1, ["2"] = 2 }')
    fails("^%$%.k7: NaN", "(function() local t = {} for i = 1, 40 do t['k' .. i] = i end t.k7 = 0 / 0 return t end)()")
    fails("would both be", "(function() local t = { ['7'] = 1 } for i = 2, 40 do t[i] = i end return t end)()")
  end)

  it("may change while its client is slow (B20)", function()
    local p = probe.new()
    local code = [[
      t = { 1, tg.generate(function(yield)
        pause()
        for i = 1, 99 do t[i] = nil t["k" .. i] = i end
        collectgarbage()
        yield("late")
      end), 3, 4 }
      return { list = t, map = 5 }]]
    assert.equal("waiting", (p:run(code)))
    assert.same({ "done", "" }, { p:go_on() })
    assert.equal('{"list":[1,["late"],null,null],"map":5}', p:output())
  end)
end)

describe("a sequence", function()
  it("prints what its iterator or generator gives, wherever it stands (B17)", function()
    prints('["a","b"]', 'tg.seq(("a b"):gmatch("%a"))')
    prints("[]", "tg.generate(function() end)")
    prints("[[],[]]", "{ tg.generate(function() end), tg.seq(function() end) }")
    prints("[1,[2,[3]],null]", [[tg.generate(function(yield)
      yield(1)
      yield(tg.generate(function(inner) inner(2) inner({ 3 }) end))
      yield(nil)
    end)]])
    prints('{"a":[1,2],"b":3}', [[{ a = coroutine.create(function()
      coroutine.yield(1)
      coroutine.yield(2)
      return "no element"
    end), b = 3 }]])
  end)

  it("takes the first value of each step, up to nil (B18)", function()
    prints("[1,2,3]", 'tg.seq(ipairs({ "a", "b", "c" }))')
    prints('["k"]', "tg.seq(next, { k = 1 })")
    prints("[1]", "(function() local n = 0 return tg.seq(function() n = n + 1 if n == 1 then return n, 9 end end) end)()")
  end)

  it("runs again if it can, and is empty if it cannot", function()
    prints("[[1],[1]]", "(function() local s = tg.generate(function(yield) yield(1) end) return { s, s } end)()")
    prints("[[1,2],[1,2]]", "(function() local s = tg.seq(ipairs({ 1, 2 })) return { s, s } end)()")
    for _, made in ipairs({
      'tg.seq(("a"):gmatch("%a"))',
      'tg.seq(coroutine.wrap(function() coroutine.yield("a") end))',
      'coroutine.create(function() coroutine.yield("a") end)',
    }) do
      prints('[["a"],[]]', ("(function() local s = %s return { s, s } end)()"):format(made))
    end
  end)

  it("closes its fourth value, as a generic for does (B24)", function()
    local made = [[
      local closer = setmetatable({}, { __close = function() closed = (closed or 0) + 1 end })
      local s = tg.seq(function(_, i) if i < 2 then return i + 1 end %s end, nil, 0, closer)
      pcall(out, s)
      return closed]]
    local whole = ("(function() %s end)()"):format(made:format(""))
    local failing = ("(function() %s end)()"):format(made:format('error("x")'))
    prints("[1,2]\n1\n", whole, { element = true })
    assert.matches("1\n$", print_of(failing, { element = true }))
    fails("bad argument #4", "tg.seq(print, nil, nil, {})")
    fails("bad argument #1", "tg.seq(1)")
    fails("bad argument #1", "tg.generate(1)")
  end)

  it("closes a coroutine that is left in its midst (B20)", function()
    local made = [[co = coroutine.create(function()
      local x <close> = setmetatable({}, { __close = function() closed = true end })
      for i = 1, 1000 do coroutine.yield(i == 500 and 0 / 0 or ("x"):rep(200)) end
    end)]]
    local p = probe.new()
    assert.equal("failed", (p:run(made .. " return co")))
    p:run("return closed and coroutine.status(co)", { element = true })
    assert.equal('"dead"\n', p:output())
    p = probe.new()
    assert.equal("waiting", (p:run(made .. " return co", { high_water = 1000 })))
    p:cancel()
    p:run("return closed and coroutine.status(co)", { element = true })
    assert.equal('"dead"\n', p:output())
  end)

  it("passes on what its producer raises, as it was raised (B32)", function()
    assert.matches("boom$", (error_of('return tg.generate(function() error("boom") end)')))
    assert.matches("boom$", (error_of('return { tg.seq(function() error("boom") end) }')))
    assert.matches("boom$", (error_of('return coroutine.create(function() error("boom") end)')))
  end)

  it("writes nothing before its first element, so that an error can be answered (B32)", function()
    for _, code in ipairs({
      'return tg.generate(function() pause() error("boom") end)',
      'return tg.seq(function() pause() error("boom") end)',
      'return coroutine.create(function() pause() error("boom") end)',
    }) do
      local p = probe.new()
      assert.equal("waiting", (p:run(code)))
      assert.equal(0, p:state().sends)
      assert.equal("failed", (p:go_on()))
      assert.equal("", p:output())
    end
  end)

  it("shows each element when its producer waits (B19)", function()
    local p = probe.new()
    p:run("return tg.generate(function(yield) for i = 1, 3 do yield({ i }) pause() end end)")
    assert.equal("[[1]", p:output())
    p:go_on()
    assert.equal("[[1],[2]", p:output())
    p:go_on()
    assert.same({ "done", "" }, { p:go_on() })
    assert.equal("[[1],[2],[3]]", p:output())
  end)

  it("holds its producer while the client is slow, wherever it stands (B20)", function()
    for wanted, code in pairs({
      [("[" .. ("1,"):rep(50000)):sub(1, -2) .. "]"] = "tg.generate(function(y) for _ = 1, 50000 do y(1) end end)",
      [("[" .. ("2,"):rep(50000)):sub(1, -2) .. "]"] = "(function() local n = 0 return tg.seq(function() n = n + 1 return n <= 50000 and 2 or nil end) end)()",
      [("[" .. ("3,"):rep(50000)):sub(1, -2) .. "]"] = "coroutine.create(function() for _ = 1, 50000 do coroutine.yield(3) end end)",
      [("[" .. ("4,"):rep(50000)):sub(1, -2) .. "]"] = "(function() local t = {} for i = 1, 50000 do t[i] = 4 end return t end)()",
      ["[" .. ('{"a":[5,{"b":6}]},'):rep(20000):sub(1, -2) .. "]"] = "tg.generate(function(y) for _ = 1, 20000 do y({ a = { 5, { b = 6 } } }) end end)",
    }) do
      local p = probe.new()
      assert.equal("waiting", (p:run("return " .. code, { full = true, high_water = 1000 })))
      assert.is_true(p:state().total < 200000)
      local before = p:state().total
      assert.is_true(p:state().waits_for_drain)
      assert.is_true(p:drain_all() > 0)
      assert.is_true(p:output() == wanted)
      assert.is_true(p:state().total > before)
    end
  end)

  it("ends with tg.closed when the client has gone (B46)", function()
    local p = probe.new()
    p:run("return tg.generate(function(y) while true do seen = select(2, pcall(y, 1)) == tg.closed if seen then error(tg.closed) end end end)",
      { high_water = 1000 })
    p:leave()
    p:drain()
    assert.same({ "failed", "closed" }, { p:drain() })
    p:run("return seen", { element = true })
    assert.equal("true\n", p:output())
  end)

  it("of 10,000,000 elements needs no memory to speak of, and no long time (B18) #slow", function()
    local p = probe.new()
    p:run("return tg.generate(function(y) for i = 1, 100000 do y(i) end end)", { discard = true })
    p:drain_all()
    local before, start = p:state().memory, os.clock()
    p:run("return tg.generate(function(y) for i = 0, 9999999 do y(i) end end)", { discard = true })
    p:drain_all()
    assert.equal(78888891, p:state().total)
    assert.is_true(os.clock() - start < 1.5)
    assert.is_true(p:state().memory - before < 100000)
  end)
end)

describe("yield", function()
  it("raises after its generator has ended, or has failed", function()
    assert.matches("after its generator had ended", (error_of(
      "local kept out(tg.generate(function(y) kept = y end)) kept(1) return {}")))
    assert.matches("after its generator had ended", (error_of(
      "local kept pcall(out, tg.generate(function(y) kept = y y(1) error() end)) kept(1) return {}")))
  end)

  it("raises tg.closed once the body's writer has gone", function()
    local p = probe.new()
    assert.equal("waiting", (p:run("return tg.generate(function(y) kept = y y(1) pause() end)")))
    p:cancel()
    p:run("return tostring(select(2, pcall(kept, 2))):match('ended') or 'closed'", { element = true })
    assert.matches("ended", p:output())
  end)

  it("leaves no broken text behind that passes for whole (B33)", function()
    assert.matches("has not been printed to its end", (error_of(
      "return tg.generate(function(y) y(1) pcall(y, { 1, { 0 / 0 } }) y(3) end)")))
    assert.matches("%$%[2%]%[2%]%[1%]: the element could not be printed to its end", (error_of(
      "return tg.generate(function(y) y(1) pcall(y, { 1, { 0 / 0 } }) end)")))
  end)

  it("names the place of an element that cannot be printed (B17)", function()
    fails(":1: %$%.a%[2%]%.b%[1%]: NaN", "{ a = tg.generate(function(y) y(1) y({ b = { 0 / 0 } }) end) }")
    fails(":1: %$%[1%]: a function", "tg.generate(function(y) y(print) end)")
    fails("value expected", "tg.generate(function(y) y() end)")
  end)

  it("works from coroutines of the generator's own, which may wait (B14)", function()
    local p = probe.new()
    p:run([[return tg.generate(function(y)
      local co = coroutine.wrap(function() y({ 1 }) coroutine.yield() pause() y({ 2 }) end)
      co() y("between") co()
    end)]])
    p:go_on()
    assert.equal('[[1],"between",[2]]', p:output())
  end)

  it("does not wait for the client in a task that is not the body's (B20)", function()
    local p = probe.new()
    p:run("return tg.generate(function(y) kept = y y(1) pause() y(3) end)", { high_water = 4 })
    local result, message = p:run_beside("kept(('x'):rep(70000))")
    assert.equal("failed", result)
    assert.matches("from a task that is not its own", message)
    assert.is_false(p:state().waits_for_drain)
    assert.equal("done", (p:run_beside("return 1")))
  end)
end)

describe("the format", function()
  it("is found by its media type, whatever its case and parameters (B27)", function()
    for type, wanted in pairs({
      ["application/json"] = "application/json",
      ["Application/JSON ; charset=utf-8"] = "application/json",
      ["application/x-ndjson"] = "application/x-ndjson",
      ["application/jsonl;x=y"] = "application/jsonl",
      ["text/plain"] = "text/plain; charset=utf-8",
    }) do
      assert.equal(wanted, probe.content_type(type))
    end
    for _, type in ipairs({ "", "image/png", "application/jsonx", "application", ";" }) do
      assert.is_nil(probe.content_type(type))
    end
  end)

  it("of lines has one for each element, as JSON (B27)", function()
    local ndjson = { as = "application/x-ndjson" }
    local wanted = '1\n"x\\n"\n{"a":[1]}\n[2]\nnull\n'
    prints(wanted, "tg.generate(function(y) y(1) y('x\\n') y({ a = { 1 } }) y({ 2 }) y(tg.json.null) end)", ndjson)
    prints(wanted, "{ 1, 'x\\n', { a = { 1 } }, { 2 }, tg.json.null }", ndjson)
    prints('{"a":1}\n', "{ a = 1 }", ndjson)
    prints("", "{}", ndjson)
    prints("[1]\n", "{ tg.seq(ipairs({ 1 })) }", { as = "application/jsonl" })
  end)

  it("of text has strings as they are, and numbers as tostring() has them (B27)", function()
    prints('a "b"\n1\n0.3\n1e+15\ntrue\n{"s":"x"}\n',
      "tg.generate(function(y) y('a \"b\"') y(1) y(0.1 + 0.2) y(1e15) y(true) y({ s = 'x' }) end)", { as = "text/plain" })
    prints("x\ny\n", '{ "x", "y" }', { as = "text/plain" })
  end)

  it("keeps elements that are printed by themselves apart (B21)", function()
    prints('{"a":1}\n"x"\n1\n2\n[3]\n',
      '(function() out({ a = 1 }) out("x") out(1) out(2) return { 3 } end)()', { element = true })
    prints("x\n1\n{}\n", "(function() out('x') out(1) return tg.json.object() end)()", { as = "text/plain", element = true })
  end)

  it("waits after an element by itself when the client is slow (B20)", function()
    local p = probe.new()
    p:run("for i = 1, 100000 do out(i) end return {}", { full = true, high_water = 1000 })
    assert.is_true(p:state().total < 200000)
    assert.is_true(p:drain_all() > 0)
    assert.matches("^1\n2\n.*\n100000\n%[%]$", p:output())
  end)
end)
