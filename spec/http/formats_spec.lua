-- Sequences and tables in every format, over the wire.
local curl = require("curl")
local raw = require("raw")
local server = require("server")

local SCRIPT = [=[
local tg = require("tidegate")

tg.format("application/x-parts", {
  begin = function(out) out:write("<") return "begin " end,
  between = function(out, index) return ", " .. index .. "=" end,
  element = function(value, out, index)
    if index > 0 then out:print({ value }) else out:write("by hand ", tostring(value)) end
  end,
  after = ";",
  finish = function(out, count) tg.sleep(0.001) out:write("end of ", count) return ">" end,
})

tg.format("application/x-finish", { element = tostring, begin = "(", finish = function(out, count) return ")" .. count end })

tg.format("application/x-quick", { element = function(value) return tostring(value) end, after = "." })

tg.format("application/x-lengths", {
  element = function(value, out, index)
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
  long_row = function() return { { 1, 2 }, { 1, 2, 3 } } end,
  mixed_row = function() return { { 1, x = 2 } } end,
  list_then_map = function() return { { 1 }, { x = 2 } } end,
  map_then_list = function() return { { x = 1 }, { 2 } } end,
  empty_row = function() return { {} } end,
  map_cell = function() return { { a = 1, b = { c = 1 } } } end,
  odd_key = function() return { { [true] = 1 } } end,
  short_rows = function() return { { 1, 2, 3 }, { 4 }, {}, { [2] = 5 }, { nil, nil, 6 } } end,
  single = function() return { "x", "", tg.json.null, false, 1.5 } end,
  cells = function() return { { a = function(out, ctx) out:write('say "', ctx.request.path, '"') end, b = tg.csv({ { 1, "x" } }),
    c = setmetatable({}, { __write_body = function(_, out) out:print({ 1 }) end }) } } end,
  csv_inside = function() return { csv = tg.csv({ { a = 1, b = 'q"' } }), n = 1 } end,
  keys = function() return { { ["ns/name"] = 1, ["a.b/c-d?"] = 2, ["/x"] = 3, ["x/"] = 4, ["a/b/c"] = 5, ["-1"] = 6, ["-a"] = 7,
    ["1a"] = 8, [""] = 9, ["a b"] = 10, ["é"] = 11, ["true"] = 12, ["a:b"] = 13, ["<=>"] = 14 } } end,
  long_data = function() return { { data = ("x"):rep(40000) .. "\r\n" .. ("y"):rep(40000) .. "\n" }, ("z"):rep(70000) } end,
  written_data = function() return { { event = "e", data = function(out) out:write("a\r") out:flush() out:write("\nb\n") end },
    function(out) out:write("c") end, { data = function(out) out:print({ 1, "x\n" }) end } } end,
  texts = function() return { "a", function(out) out:write("two\nlines") out:print("printed") end, ("b"):rep(100000), { f = function(out) out:write("1\n") end } } end,
  problem = function() return { title = "x" } end,
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
    { "/vary", get = function(request) return { headers = { Vary = request.query.vary }, body = { 1 } } end },
    { "/csv", get = function(request)
      local rows = ({
        maps = { { id = 1, name = "a;b", extra = 5 }, { name = "c" } },
        lists = { { 1, "x" }, { 2 } },
        none = {},
      })[request.query.rows]
      local options = assert(load("return " .. request.query.options))()
      return { headers = { ["Content-Type"] = request.query.type }, body = tg.csv(rows, options) }
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
      prints('1,two,true\r\n,"",ü\r\n=1+1,,\r\n', "lists", "text/csv")
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
    it("fills short rows with empty cells, and keeps empty texts apart from none", function()
      prints("1,2,3\r\n4,,\r\n,,\r\n,5,\r\n,,6\r\n", "short_rows", "text/csv")
      prints('x\r\n""\r\n""\r\nfalse\r\n1.5\r\n', "single", "text/csv")
    end)
    it("has bodies of other types as cells (B17)", function()
      prints('a,b,c\r\n"say ""/b/cells""","1,x\r\n","[1]\n"\r\n', "cells", "text/csv")
      prints('{"csv":"a,b\\r\\n1,\\"q\\"\\"\\"\\r\\n","n":1}', "csv_inside")
    end)
    it("prints a cell of any length", function()
      local body = get("long", "text/csv").body
      assert.equal('"' .. ("x"):rep(300000) .. '",y\r\n', body)
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
      long_row = "%$%[2%]: the row has 3 cells, the first one has 2",
      mixed_row = "%$%[1%]: the row is neither a list nor a map",
      list_then_map = "%$%[2%]: the row is a map, and the first one is a list",
      map_then_list = "%$%[2%]: the row is a list, and the first one is a map",
      empty_row = "%$%[1%]: the first row is empty",
      map_cell = "%$%[1%]%.b: a table cannot be a cell of a row",
      odd_key = "a column has a name or a number from 1 on, this is a boolean",
      other_column = "%$%[2%]: b is none of the columns",
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

  describe("tg.csv", function()
    local function csv(rows, options, type)
      local query = options:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end)
      return raw.get(s.port, "/csv?rows=" .. rows .. "&options=" .. query .. (type and "&type=" .. type or ""))
    end

    it("prints the columns that it is given, in their order, whatever the client accepts (B27)", function()
      local response = csv("maps", '{ columns = { "name", "id" } }')
      assert.equal("name,id\r\na;b,1\r\nc,\r\n", response.body)
      assert.equal("text/csv; charset=utf-8", response.headers["content-type"][1])
      assert.equal("extra,id,name\r\n5,1,a;b\r\n,,c\r\n", csv("maps", "nil").body)
    end)
    it("names the cells of rows that are lists, and the columns of no rows at all", function()
      assert.equal("n,t\r\n1,x\r\n2,\r\n", csv("lists", '{ columns = { "n", "t" } }').body)
      assert.equal("n,t\r\n", csv("none", '{ columns = { "n", "t" } }').body)
      assert.equal("", csv("none", "nil").body)
    end)
    it("leaves the header out, and separates as it is told", function()
      local response = csv("maps", '{ columns = { "name", "id" }, header = false, separator = ";" }')
      assert.equal('"a;b";1\r\nc;\r\n', response.body)
      assert.equal("text/csv; charset=utf-8; header=absent", response.headers["content-type"][1])
      assert.equal("text/tab-separated-values", csv("lists", '{ separator = "\\t" }', "text/tab-separated-values").headers["content-type"][1])
      assert.equal("1\tx\r\n2\t\r\n", csv("lists", '{ separator = "\\t" }', "text/tab-separated-values").body)
    end)
    it("refuses options that are none", function()
      for options, message in pairs({
        ["{ colums = {} }"] = "tg.csv: unknown option colums",
        ["{ columns = {} }"] = "tg.csv: columns is a list of 1 to 4096 names",
        ["{ columns = { 1 } }"] = "tg.csv: column 1 is a number, expected a name",
        ["{ header = 1 }"] = "tg.csv: header is a boolean, this is a number",
        ['{ separator = ",," }'] = "tg.csv: separator is one character",
        ['{ separator = "\\n" }'] = "tg.csv: separator is one character",
      }) do
        local seen = #s:log()
        assert.equal(500, csv("none", options).status)
        s:wait_log(message, nil, seen + 1)
      end
    end)
  end)

  describe("EDN", function()
    it("has vectors, maps with keywords, nil and strings (B27)", function()
      prints('[{:n 1, :name "a"} {:n 2.5, :name "b \\"x\\", y"} {:name "line\\r\\nbreak"}]', "rows", "application/edn")
      prints('{"3" 1.5, :a-b? "q\\"", :inner ["e" {:x 1}], "key with space" nil, :list [1 [2] []], :yes true}',
        "nested", "application/edn")
      prints('[{:id 1, :text "x"} {:id 2, :text "y,z"}]', "generated", "application/edn")
      prints("[]", "empty_sequence", "application/edn")
      prints('["one" "two" "three"]', "strings", "application/edn")
    end)
  end)

  it("has a keyword for each name that can be one in EDN", function()
    prints('[{"" 9, "-1" 6, :-a 7, "/x" 3, "1a" 8, :<=> 14, "a b" 10, :a.b/c-d? 2, "a/b/c" 5, "a:b" 13, :ns/name 1, :true 12, "x/" 4, "é" 11}]',
      "keys", "application/edn")
  end)

  describe("of text", function()
    it("has texts and written elements as they are (B27)", function()
      prints("a\ntwo\nlinesprinted\n\n" .. ("b"):rep(100000) .. '\n{"f":1 }\n', "texts", "text/plain")
    end)
  end)

  describe("an event stream", function()
    it("has data of any length, and data that is written (B43)", function()
      prints("data: " .. ("x"):rep(40000) .. "\ndata: " .. ("y"):rep(40000) .. "\ndata: \n\ndata: " .. ("z"):rep(70000) .. "\n\n",
        "long_data", "text/event-stream")
      prints("event: e\ndata: a\ndata: b\ndata: \n\ndata: c\n\ndata: [1,\"x\\n\"]\ndata: \n\n",
        "written_data", "text/event-stream")
    end)
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
    it("may have functions for what is around elements", function()
      assert.equal('<begin ["one"]\n;, 2=["two"]\n;, 3=["three"]\n;end of 3>', get("strings", "application/x-parts").body)
      assert.equal("<begin end of 0>", get("empty", "application/x-parts").body)
      assert.equal("<begin end of 0>", get("empty_sequence", "application/x-parts").body)
      assert.equal('<begin [{"title":"x"}]\n;end of 1>', get("problem", "application/x-parts").body)
      assert.equal("by hand 1;by hand text;", (raw.get(s.port, "/print?type=application/x-parts").body:gsub("table: %w+", "1")))
      assert.equal("(onetwothree)3", get("strings", "application/x-finish").body)
      assert.equal("()0", get("empty_sequence", "application/x-finish").body)
    end)
    it("gives its functions what they write through for as long as they are asked for", function()
      local kept <close> = server.start({ script = [[
        local tg = require("tidegate")
        local kept
        tg.format("a/b", { element = function(value, out) kept = out out:write(value) end })
        return { routes = {
          { "/", get = function() return { headers = { ["Content-Type"] = "a/b" }, body = { "x" } } end },
          { "/later", get = function() return { body = tostring(select(2, pcall(kept.write, kept, "y")) == tg.closed) } end },
        } }]] })
      assert.equal("x", raw.get(kept.port, "/").body)
      assert.equal("true", raw.get(kept.port, "/later").body)
    end)
    it("must make strings, or nothing", function()
      local seen = #s:log()
      assert.is_false(get("bad_script", "application/x-lengths").complete)
      s:wait_log("%$%[2%]: element of the format returned a number, expected a string or nothing", nil, seen + 1)
    end)
    it("is refused where it is none, or there already", function()
      local seen = #s:log()
      raw.get(s.port, "/twice")
      s:wait_log("tg.format: application/json is there already", nil, seen + 1)
      for code, message in pairs({
        ['tg.format("x", {})'] = "expected a media type",
        ['tg.format("a/b", {})'] = "element is a function, this is a nil",
        ['tg.format("a/b", { element = print, begin = 1 })'] = "begin is a string or a function, this is a number",
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

  it("is that of a media type's suffix, too", function()
    assert.equal('{"title":"x"}', get("problem", "application/problem%2Bjson").body)
    assert.equal("application/problem+json", get("problem", "application/problem%2Bjson").headers["content-type"][1])
    assert.equal('{:title "x"}', get("problem", "application/vnd.x%2Bedn").body)
    assert.equal("(table)1", (get("problem", "application/vnd.y%2Bx-finish").body:gsub(": %w+", "")))
    assert.equal("application/edn", get("problem", nil, "application/vnd.x+edn, application/json;q=0.9").headers["content-type"][1])
    assert.equal("application/json", get("problem", nil, "application/vnd.github.v3+json").headers["content-type"][1])
    assert.equal(500, get("problem", "image/svg%2Bxml").status)
  end)

  it("adds to what the script says that the response varies by", function()
    for vary, expected in pairs({
      ["Origin"] = { "Origin", "Accept" },
      ["Origin, accept"] = { "Origin, accept" },
      ["*"] = { "*" },
      ["Accept-Encoding"] = { "Accept-Encoding", "Accept" },
    }) do
      assert.same(expected, raw.get(s.port, "/vary?vary=" .. vary:gsub("[, ]", { [","] = "%2C", [" "] = "%20" })).headers["vary"], vary)
    end
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
