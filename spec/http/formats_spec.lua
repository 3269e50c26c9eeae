-- Sequences and tables in every format, over the wire.
local curl = require("curl")
local raw = require("raw")
local server = require("server")

local SCRIPT = [=[
local tg = require("tidegate")

tg.format("application/x-quick", { element = function(value) return tostring(value) end, after = "." })

tg.format("application/x-lengths", {
  element = function(value, index)
    tg.sleep(0.001)
    if value == "bad" then return 5 end
    return index .. ":" .. #value
  end,
  begin = "<", between = ";", finish = ">", content_type = "application/x-lengths; v=1",
})

local bodies = {
  rows = function() return { { name = "a", n = 1 }, { name = 'b "x", y', n = 2.5 }, { name = "line\r\nbreak" } } end,
  lists = function() return { { 1, "two", true }, { tg.json.null, "", "ü" }, { "=1+1" } } end,
  strings = function() return tg.seq(("one two three"):gmatch("%a+")) end,
  generated = function()
    return tg.generate(function(yield)
      yield({ id = 1, text = "x" })
      tg.sleep(0.01)
      yield({ id = 2, text = "y,z" })
    end)
  end,
  nested = function() return { list = { 1, { 2 }, {} }, ["key with space"] = tg.json.null, yes = true, ["a-b?"] = "q\"", [3] = 1.5,
    inner = tg.generate(function(yield) yield("e") yield({ x = 1 }) end) } end,
  map = function() return { b = 2, a = "1" } end,
  scalar_events = function() return { "one", "two\nlines", "", 7, true, { x = { 1, 2 } } } end,
  events = function()
    return tg.generate(function(yield)
      yield({ event = "greeting", id = "a-1", data = "hello\r\nworld\rend\n" })
      yield({ data = { list = { "x\ny" } }, retry = 1500 })
      yield({ comment = "only a comment" })
      yield({ data = tg.generate(function(inner) inner(1) inner(2) end), id = 5 })
      yield({ event = "bare" })
    end)
  end,
  empty = function() return {} end,
  empty_sequence = function() return tg.generate(function() end) end,
  coroutine = function() return coroutine.create(function() coroutine.yield({ a = 1 }) coroutine.yield({ a = 2 }) end) end,
  other_column = function() return { { a = 1 }, { a = 1, b = 2 } } end,
  table_cell = function() return { { 1, {} } } end,
  nan_cell = function() return { { 0 / 0 } } end,
  bad_event = function() return { { event = "a\nb", data = 1 } } end,
  bad_id = function() return { { id = "a\0b" } } end,
  bad_script = function() return { "fine", "bad" } end,
  long = function() return { { ("x"):rep(300000), "y" } } end,
}

return {
  interceptors = { { name = "strict", enter = function(ctx) ctx.strict_accept = ctx.request.query.strict ~= nil end } },
  routes = {
    { "/b/:name", get = function(request)
      return { headers = { ["Content-Type"] = request.query.type }, body = bodies[request.path_params.name]() }
    end },
    { "/print", get = function(request)
      return { headers = { ["Content-Type"] = request.query.type }, body = function(out)
        out:print({ 1, "b,c" })
        tg.sleep(0.01)
        out:print("text")
      end }
    end },
    { "/print-map", get = function()
      return { headers = { ["Content-Type"] = "text/csv" }, body = function(out) out:print({ a = 1 }) end }
    end },
    { "/twice", get = function() tg.format("application/json", { element = tostring }) end },
  },
}
]=]

describe("a format", function()
  local s

  setup(function() s = server.start({ script = SCRIPT }) end)
  teardown(function() s:stop() end)

  local function get(name, type, accept, query)
    local path = "/b/" .. name .. "?" .. (type and "type=" .. type or "") .. (query or "")
    local text = ("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"):format(path, accept and "Accept: " .. accept .. "\r\n" or "")
    return raw.request(s.port, text)
  end

  local function prints(expected, name, type)
    local response = get(name, type)
    assert.equal(expected, response.body)
    assert.equal(200, response.status)
  end

  describe("CSV (RFC 4180)", function()
    it("has a header of the first row's fields, sorted, and quotes what needs it (B27)", function()
      prints('n,name\r\n1,a\r\n2.5,"b ""x"", y"\r\n,"line\r\nbreak"\r\n', "rows", "text/csv")
    end)
    it("has rows that are lists without a header, whatever is in them", function()
      prints("1,two,true\r\n,,ü\r\n=1+1\r\n", "lists", "text/csv")
    end)
    it("is printed as the elements come, of every kind of sequence (B27)", function()
      prints('id,text\r\n1,x\r\n2,"y,z"\r\n', "generated", "text/csv")
      prints("one\r\ntwo\r\nthree\r\n", "strings", "text/csv")
      prints("a\r\n1\r\n2\r\n", "coroutine", "text/csv")
    end)
    it("takes a map for one row, and nothing for nothing", function()
      prints("a,b\r\n1,2\r\n", "map", "text/csv")
      prints("", "empty", "text/csv")
      prints("", "empty_sequence", "text/csv")
    end)
    it("has no header where the Content-Type says so", function()
      prints('1,x\r\n2,"y,z"\r\n', "generated", "text/csv;header=absent")
    end)
    it("prints a cell of any length", function()
      local body = get("long", "text/csv").body
      assert.equal(300000 + 4, #body)
    end)
    it("is read back by another implementation", function()
      local text = get("rows", "text/csv").body
      local path = s.dir .. "/rows.csv"
      server.write(path, text)
      local reader = io.popen("python3 -c 'import csv,sys,json; "
        .. "print(json.dumps(list(csv.reader(open(sys.argv[1], newline=\"\")))))' " .. path)
      local read = require("cjson").decode(reader:read("a"))
      reader:close()
      assert.same({ { "n", "name" }, { "1", "a" }, { "2.5", 'b "x", y' }, { "", "line\r\nbreak" } }, read)
    end)
    for name, message in pairs({
      other_column = "%$%[2%]: the first row has no column b",
      table_cell = "a table cannot be a cell of a row",
      nan_cell = "NaN and the infinities cannot be printed",
    }) do
      it("refuses " .. name .. ", with its place", function()
        local seen = #s:log()
        local response = get(name, "text/csv")
        assert.is_true(response == nil or response.status == 500 or not response.complete)
        s:wait_log(message, nil, seen + 1)
      end)
    end
  end)

  describe("EDN", function()
    it("has vectors, maps with keywords, nil and strings (B27)", function()
      prints('{"3" 1.5, :a-b? "q\\"", :inner ["e" {:x 1}], "key with space" nil, :list [1 [2] []], :yes true}',
        "nested", "application/edn")
      prints('[{:id 1, :text "x"} {:id 2, :text "y,z"}]', "generated", "application/edn")
      prints("[]", "empty_sequence", "application/edn")
      prints('["one" "two" "three"]', "strings", "application/edn")
    end)
  end)

  describe("an event stream", function()
    it("has an event for each element, tables as JSON (B27)", function()
      prints("data: one\n\ndata: two\ndata: lines\n\ndata: \n\ndata: 7\n\ndata: true\n\ndata: {\"x\":[1,2]}\n\n",
        "scalar_events", "text/event-stream")
    end)
    it("takes tables with the fields of an event for one (B43)", function()
      prints("event: greeting\nid: a-1\ndata: hello\ndata: world\ndata: end\ndata: \n\n"
        .. 'retry: 1500\ndata: {"list":["x\\ny"]}\n\n'
        .. ": only a comment\n\n"
        .. "id: 5\ndata: [1,2]\n\n"
        .. "event: bare\ndata: \n\n", "events", "text/event-stream")
    end)
    it("refuses a line break or a NUL in event and id (B44)", function()
      for name, message in pairs({ bad_event = "event: it has a line break", bad_id = "id: it has a line break or a NUL" }) do
        local seen = #s:log()
        assert.equal(500, get(name, "text/event-stream").status)
        s:wait_log(message, nil, seen + 1)
      end
    end)
  end)

  describe("of the script's own", function()
    it("prints each element by its function, which may wait", function()
      local response = get("strings", "application/x-lengths")
      assert.equal("<1:3;2:3;3:5>", response.body)
      assert.equal("<1:3;2:3;3:5>", get("strings", nil, "application/x-lengths").body)
      assert.equal("application/x-lengths; v=1", get("strings", nil, "application/x-lengths").headers["content-type"][1])
    end)
    it("may be a function that does not wait, of lists, sequences and generators", function()
      assert.equal("one.two.three.", get("strings", "application/x-quick").body)
      assert.equal("one.two\nlines..7.true.", (get("scalar_events", "application/x-quick").body:gsub("table.*$", "")))
      assert.matches("^table: %w+%.table: %w+%.$", get("generated", "application/x-quick").body)
    end)
    it("must make strings", function()
      local seen = #s:log()
      assert.is_false(get("bad_script", "application/x-lengths").complete)
      s:wait_log("%$%[2%]: the format's element returned a number, expected a string", nil, seen + 1)
    end)
    it("is refused where it is none, or there already", function()
      local seen = #s:log()
      raw.get(s.port, "/twice")
      s:wait_log("tg.format: application/json is there already", nil, seen + 1)
      for code, message in pairs({
        ['tg.format("x", {})'] = "expected a media type",
        ['tg.format("a/b", {})'] = "element is a function, this is a nil",
        ['tg.format("a/b", { element = print, begin = 1 })'] = "begin is a string, this is a number",
        ['tg.format("a/b", { elment = print })'] = "unknown option elment",
        ['tg.format("a/b", { element = print, content_type = "a\\r\\nb" })'] = "content_type is no field value",
        ['for i = 1, 65 do tg.format("a/b" .. i, { element = print }) end'] = "there are 64 already",
      }) do
        server.write(s.dir .. "/bad.lua", 'local tg = require("tidegate") ' .. code .. " return { routes = {} }")
        local result = server.command({ "check", s.dir .. "/bad.lua" })
        assert.equal(1, result.exit)
        assert.matches(message, result.stderr, 1, true)
      end
    end)
  end)

  it("is JSON where the client has no wish, and what it wants most otherwise (B27)", function()
    for accept, expected in pairs({
      ["*/*"] = "application/json",
      ["text/csv"] = "text/csv; charset=utf-8",
      ["application/edn, application/json;q=0.5"] = "application/edn",
      ["text/*"] = "text/plain; charset=utf-8",
      ["image/png"] = "application/json",
      ["application/jsonl;q=0.2, text/csv;q=0.1"] = "application/jsonl",
    }) do
      local response = get("generated", nil, accept)
      assert.equal(expected, response.headers["content-type"][1], accept)
      assert.same({ "Accept" }, response.headers["vary"])
    end
    assert.equal("application/json", get("generated").headers["content-type"][1])
    assert.is_nil(get("generated", "application/json").headers["vary"])
  end)

  it("is 406 only if the script asks for that (B27)", function()
    assert.equal(406, get("generated", nil, "image/png", "strict=1").status)
    assert.equal(406, get("generated", nil, "application/json;q=0", "strict=1").status)
    assert.equal(200, get("generated", nil, "text/csv", "strict=1").status)
    assert.equal(200, get("generated", nil, nil, "strict=1").status)
  end)

  it("that nobody knows is an error before anything is sent (B27)", function()
    local seen = #s:log()
    assert.equal(500, get("map", "application/unheard-of").status)
    s:wait_log("no format prints a table or sequence as application/unheard%-of", nil, seen + 1)
  end)

  it("is out:print's, too", function()
    assert.equal('1,"b,c"\r\ntext\r\n', raw.get(s.port, "/print?type=text/csv").body)
    assert.equal("[1,\"b,c\"]\n\"text\"\n", raw.get(s.port, "/print?type=application/json").body)
    assert.equal('[1 "b,c"]\n"text"\n', raw.get(s.port, "/print?type=application/edn").body)
    assert.equal("data: [1,\"b,c\"]\n\ndata: text\n\n", raw.get(s.port, "/print?type=text/event-stream").body)
    assert.equal(500, raw.get(s.port, "/print-map").status)
  end)

  it("streams ten million rows in flat memory (B18)", function()
    if server.sanitized then return end
    local big <close> = server.start({ script = [[
      local tg = require("tidegate")
      return { routes = { { "/", get = function(request)
        return { body = tg.generate(function(yield)
          for i = 1, tonumber(request.query.n) do yield({ id = i, name = "row" }) end
        end) }
      end } } }]] })
    curl.run({ "-o", "/dev/null", big.url .. "/?n=1000" })
    local before = big:hwm()
    local result = curl.run({ "-H", "Accept: text/csv", "-o", "/dev/null", big.url .. "/?n=1000000" })
    assert.equal(200, result.status)
    assert.is_true(big:hwm() - before < 2048, big:hwm() - before)
  end)
end)
