-- Bodies inside tables and sequences, streamed where they stand.
local cjson = require("cjson")
local curl = require("curl")
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")
local upstream = require("upstream")

local SCRIPT = [=[
local tg = require("tidegate")
local Json = { __content_type = "application/problem+json", __write_body = function(self, out) out:write("[", self.n, "]") end }
local Text = { __content_type = "text/plain", __write_body = function(self, out)
  for i = 1, #self.text do out:write(self.text:sub(i, i)) if self.slow then tg.sleep(0.001) end end
end }
local Untyped = { __write_body = function(_, out) out:write('{"un":', 1, "}") end }
local function text(s, slow) return setmetatable({ text = s, slow = slow }, Text) end
local co, theirs, kept
return { routes = {
  { "/kinds", get = function(request)
    return { headers = { ["Content-Type"] = request.query.type }, body = {
      fn = function(out, ctx) out:write('{"path":"', ctx.request.path, '"}') end,
      json = setmetatable({ n = 7 }, Json),
      text = text('say "hi"\n'),
      untyped = setmetatable({}, Untyped),
      list = { text(""), function(out) out:print({ 1 }) end, 5 },
      seq = tg.generate(function(yield) yield(text("in")) yield(setmetatable({ n = 1 }, Json)) end),
    } }
  end },
  { "/files/:name", get = function(request)
    return { body = { before = 1, file = tg.file(request.query.dir .. "/" .. request.path_params.name), ["then"] = 2 } }
  end },
  { "/echo", post = function(request) return { body = { sent = request.body } } end },
  { "/utf8", get = function() return { body = { text("aé\u{20AC}\u{1F30A}z\xff\xc3(\xe2\x82", true) } } end },
  { "/pause", get = function()
    return { body = { a = text("first"), b = function(out) out:write("1") tg.sleep(0.4) out:write("2") end } }
  end },
  { "/lines", get = function()
    return { headers = { ["Content-Type"] = "application/x-ndjson" }, body = {
      { x = function(out) out:write("[1,\n2,\r\n3]") end }, { x = 2 } } }
  end },
  { "/fails", get = function() return { body = { a = 1, b = function() error("in the leaf", 0) end } } end },
  { "/fails-late", get = function() return { body = { a = 1, b = function(out) out:write("1") out:flush() error("late", 0) end } } end },
  { "/forever", get = function()
    return { body = { a = function(out) while true do out:write(("1"):rep(1000)) end end } }
  end },
  { "/deep", get = function()
    return { body = { function(out) out:print({ inner = text("deep \"quoted\"") }) end } }
  end },
  { "/collect", get = function() collectgarbage() return { body = { 0 } } end },
  { "/nothing", get = function()
    return { body = { a = function() end, b = setmetatable({ text = "" }, Text), c = setmetatable({}, { __write_body = function() end }) } }
  end },
  { "/nothing-edn", get = function()
    return { headers = { ["Content-Type"] = "application/edn" }, body = { a = function() end } }
  end },
  { "/topic", get = function()
    local topic = tg.topic("leaf")
    tg.spawn(function() tg.sleep(0.05) topic:publish("x") topic:close() end)
    return { body = { a = 1, t = topic } }
  end },
  { "/channel", get = function()
    local channel = tg.channel(1)
    tg.spawn(function() for _, item in ipairs({ 1, "two", { x = 3 } }) do channel:put(item) tg.sleep(0.01) end channel:close() end)
    return { body = { items = channel, last = true } }
  end },
  { "/response", get = function(request)
    return { body = { answer = assert(tg.fetch(request.query.url)) } }
  end },
  { "/download", get = function(request)
    return { body = { tg.file(request.query.path, { download = "x.json" }) } }
  end },
  { "/kept", get = function()
    return { body = { function(out) kept = out out:write("1") end } }
  end },
  { "/kept-later", get = function() return { body = { select(2, pcall(kept.write, kept, "y")) == tg.closed } } end },
  { "/closes", get = function() return { body = { function(out) out:write("1") out:close() end, 2 } } end },
  { "/bytes", get = function() return { body = { "xxxx", function(out) out:write("[1,") out:write(out.bytes, "]") end } } end },
  { "/long", get = function() return { body = { a = ("x\n"):rep(25 << 20), b = 1 } } end },
  { "/long-row", get = function() return { body = tg.csv({ { ("x,"):rep(25 << 20) } }) } end },
  { "/left", get = function()
    return { body = tg.generate(function(yield)
      co = coroutine.wrap(function() yield(function(out) theirs = out coroutine.yield() out:write("late") end) end)
      co()
      error("gives up", 0)
    end) }
  end },
  { "/left-later", get = function() return { body = { (pcall(co)), (pcall(theirs.write, theirs, "x")) } } end },
  { "/fetch", get = function(request)
    local answer = assert(tg.fetch(request.query.url))
    return { body = { status = answer.status, answer = answer.body } }
  end },
  { "/json", get = function() return { headers = { ["Content-Type"] = "application/json" }, body = '{"from":"there"}' } end },
} }
]=]

describe("a body inside a table", function()
  local s

  setup(function() s = server.start({ script = SCRIPT }) end)
  teardown(function() s:stop() end)

  local function get(path) return raw.get(s.port, path) end

  it("stands as it is where it is JSON, and is a string otherwise (B17)", function()
    assert.equal('{"fn":{"path":"/kinds"},"json":[7],"list":["",[1]\n,5],"seq":["in",[1]],'
      .. '"text":"say \\"hi\\"\\n","untyped":{"un":1}}', get("/kinds").body)
  end)

  it("is one line in formats of lines, and JSON is a string to EDN", function()
    assert.equal('{"x":[1, 2,  3]}\n{"x":2}\n', get("/lines").body)
    assert.matches(':json "%[7%]"', get("/kinds?type=application/edn").body)
    local lines = get("/kinds?type=application/x-ndjson").body
    assert.equal(#lines, lines:find("\n", 1, true))
  end)

  it("may be a file: JSON or text by its name, of any size (B17)", function()
    server.write(s.dir .. "/a.json", '{"in":["a","file"]}')
    server.write(s.dir .. "/a.txt", 'line "one"\nline two')
    local long = ("0123456789\n"):rep(100000)
    server.write(s.dir .. "/long.txt", long)
    server.write(s.dir .. "/empty.txt", "")
    local function file(name) return get("/files/" .. name .. "?dir=" .. s.dir).body end
    assert.equal('{"before":1,"file":{"in":["a","file"]},"then":2}', file("a.json"))
    assert.equal('{"before":1,"file":"line \\"one\\"\\nline two","then":2}', file("a.txt"))
    assert.equal('{"before":1,"file":"","then":2}', file("empty.txt"))
    assert.equal(long, cjson.decode(file("long.txt")).file)
    assert.equal(404, get("/files/none.txt?dir=" .. s.dir).status)
  end)

  it("may be what the client sends, as a string (B17)", function()
    local body = ("\"x\"\t"):rep(50000)
    server.write(s.dir .. "/up", body)
    local result = curl.run({ "--data-binary", "@" .. s.dir .. "/up", s.url .. "/echo" })
    assert.equal(body, cjson.decode(result.stdout).sent)
  end)

  it("may be another server's answer, in place (B17)", function()
    assert.equal('{"answer":{"from":"there"},"status":200}', get("/fetch?url=" .. s.url .. "/json").body)
  end)

  it("may be a response of another server as it came, but no coded one (B17)", function()
    assert.equal('{"answer":{"from":"there"}}', get("/response?url=" .. s.url .. "/json").body)
    local up <close> = upstream.listen()
    local c <close> = assert(raw.connect(s.port))
    c:send("GET /response?url=http://127.0.0.1:" .. up.port .. "/ HTTP/1.1\r\nHost: x\r\n\r\n")
    local answered <close> = up:answer("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx")
    assert.equal(500, c:read_response(5).status)
    s:wait_log("the body of this response is coded", 5)
    assert.is_truthy(answered)
  end)

  it("is null where nothing is written that would be JSON", function()
    assert.equal('{"a":null,"b":"","c":null}', get("/nothing").body)
    assert.equal("{:a nil}", get("/nothing-edn").body)
  end)

  it("may be a topic, as a string, or a channel, as a list (B26)", function()
    assert.matches('^{"a":1,"t":"id: .*\\ndata: x\\n\\n.*"}$', get("/topic").body)
    assert.equal('{"items":[1,"two",{"x":3}],"last":true}', get("/channel").body)
  end)

  it("changes nothing of the response's head", function()
    server.write(s.dir .. "/d.json", "[1]")
    local response = get("/download?path=" .. s.dir .. "/d.json")
    assert.equal("[[1]]", response.body)
    assert.is_nil(response.headers["content-disposition"])
    assert.is_nil(response.headers["accept-ranges"])
    assert.equal("application/json", response.headers["content-type"][1])
  end)

  it("may end itself, and not what it stands in", function()
    assert.equal("[1,2]", get("/closes").body)
    assert.equal('["xxxx",[1,3]]', get("/bytes").body)
    assert.equal("[1]", get("/kept").body)
    assert.equal("[true]", get("/kept-later").body)
  end)

  it("may be left in the middle, by a coroutine of the script's own", function()
    assert.equal(500, get("/left").status)
    assert.equal("[false,false]", get("/left-later").body)
  end)

  it("of a file that is JSON goes out as files do", function()
    local json = "[" .. ("1234567,"):rep(1 << 20) .. "0]"
    server.write(s.dir .. "/big.json", json)
    assert.equal('{"before":1,"file":' .. json .. ',"then":2}', get("/files/big.json?dir=" .. s.dir).body)
  end)

  it("and a string of any length is held back for a slow client (B20)", function()
    if server.sanitized then return end
    get("/kinds")
    for _, path in ipairs({ "/long", "/long-row" }) do
      local c <close> = assert(raw.connect(s.port))
      c:send("GET " .. path .. " HTTP/1.1\r\nHost: x\r\n\r\n")
      c:read_until("x[\\,]", 10)
      s:cpu_after_rest()
      -- The string itself, and no second one.
      assert.is_true(s:rss() < (50 + 40) << 10, s:rss())
      c:close()
      server.eventually(function() return get("/collect").body == "[0]" end)
    end
  end)

  it("is valid UTF-8 wherever its pieces are split", function()
    assert.equal('["aé\u{20AC}\u{1F30A}z\u{FFFD}\u{FFFD}(\u{FFFD}\u{FFFD}"]', get("/utf8").body)
  end)

  it("is sent before it pauses (B19)", timed(function()
    local c <close> = assert(raw.connect(s.port))
    local began = harness.now()
    c:send("GET /pause HTTP/1.1\r\nHost: x\r\n\r\n")
    local response = c:read_head()
    assert.equal('{"a":"first","b":1', c:read_chunk(response))
    assert.is_true(harness.now() - began < 300)
    assert.equal("2}", c:read_chunk(response))
  end))

  it("may hold others in turn", function()
    assert.equal('[{"inner":"deep \\"quoted\\""}\n]', get("/deep").body)
  end)

  it("fails as any body does: a 500 before anything went out, a cut after that (B32, B33)", function()
    assert.equal(500, get("/fails").status)
    assert.is_false(get("/fails-late").complete)
  end)

  it("is held back, closed when its client goes, and leaves nothing behind (B20, B15)", function()
    get("/kinds")
    local before = s:fds()
    for _ = 1, 20 do
      local c = assert(raw.connect(s.port))
      c:send("GET /forever HTTP/1.1\r\nHost: x\r\n\r\n")
      c:read_head()
      c:reset()
    end
    server.eventually(function() return s:fds() == before end)
    assert.equal(200, get("/kinds").status)
    if not server.sanitized then assert.is_true(s:rss() < 80 << 10) end
  end)
end)
