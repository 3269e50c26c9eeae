-- A channel as a body: items of every type, each at once, and what ends it.
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
local rooms, notes, shared = {}, {}, tg.channel(4)
local function note(text) notes[#notes + 1] = text end

-- A channel into which a task puts the items, one each turn, and then closes it.
local function channel_of(items, capacity)
  local ch = tg.channel(capacity or 0)
  tg.spawn(function()
    for _, item in ipairs(items) do ch:put(item) tg.sleep(0) end
    ch:close()
  end)
  return ch
end

local Box = setmetatable({}, { __write_body = function(_, out) out:write("<box>") end })

local bodies = {
  strings = function() return channel_of { "one ", "", "two" } end,
  tables = function() return channel_of { { a = 1 }, { 1, { 2 } }, 3, true, tg.json.null } end,
  mixed = function()
    return channel_of {
      "string\n", { table = 1 }, function(out) out:write("function\n") end,
      tg.seq(("a b"):gmatch("%a")), tg.generate(function(yield) tg.sleep(0) yield("g") end), Box, "\n",
      channel_of { "inner ", "channel\n" }, tg.file("FILE"), io.open("FILE"),
    }
  end,
  empty = function() return channel_of {} end,
  ["table-first"] = function() return channel_of { { 1 }, "string\n" } end,
  ["function-first"] = function() return channel_of { function(out) out:write("x") end } end,
  sequences = function() return channel_of { 1, tg.seq(("a b"):gmatch("%a")), { 2 } } end,
  task = function() return channel_of { tg.spawn(function() end) } end,
}

return {
  limits = { response_timeout = 5 },
  routes = {
    { "/bodies/:name", get = function(request)
      local headers = request.query.type and { ["Content-Type"] = request.query.type } or nil
      return { headers = headers, body = bodies[request.path_params.name]() }
    end },
    { "/timed", get = function()
      local ch = tg.channel()
      tg.spawn(function()
        for i = 1, 5 do tg.sleep(0.1) ch:put(i .. "\n") end
        ch:close()
      end)
      return { body = ch }
    end },
    { "/dies-first", name = "dies-first", get = function()
      local ch = tg.channel()
      tg.spawn(function() tg.sleep(0.01) error("before anything", 0) ch:put("never") end)
      return { body = ch }
    end },
    { "/dies", name = "dies", get = function()
      local ch = tg.channel()
      tg.spawn(function() ch:put("one ") tg.sleep(0.05) error("in the middle", 0) end)
      return { body = ch }
    end },
    { "/forgets", get = function()
      local ch = tg.channel(8)
      tg.spawn(function() ch:put("one ") ch:put("two") end)
      return { body = ch }
    end },
    { "/parts", get = function(_, ctx)
      ctx:write_response { status = 200, headers = { ["Content-Type"] = "text/plain" }, body = channel_of { "a", "b" } }
      ctx:write_response_body(channel_of { "c", { 1 } })
      ctx:write_response_body("d")
    end },

    -- One room of each client, fed by other exchanges.
    { "/room", get = function(_, ctx)
      local ch = tg.channel(2)
      rooms[#rooms + 1] = ch
      tg.spawn(function() end)
      return { headers = { ["Content-Type"] = "text/plain" }, body = ch }
    end },
    { "/say", get = function(request)
      local said = {}
      for i, ch in ipairs(rooms) do
        local ok, why = pcall(ch.put, ch, request.query.text .. "\n")
        said[#said + 1] = ok and "said" or tostring(why)
      end
      return { body = table.concat(said, ",") }
    end },
    { "/leave", get = function() for _, ch in ipairs(rooms) do ch:close() end rooms = {} return { body = "" } end },

    -- One channel for all.
    { "/shared", get = function() return { headers = { ["Content-Type"] = "text/plain" }, body = shared } end },
    { "/put", get = function(request) shared:put(request.query.text .. "\n") return { body = "put" } end },
    { "/close", get = function() shared:close() return { body = "" } end },

    { "/flood", get = function()
      local ch = tg.channel(4)
      tg.spawn(function()
        local x <close> = setmetatable({}, { __close = function() note("producer closed") end })
        local piece = ("x"):rep(65536)
        while true do ch:put(piece) note("") end
      end)
      return { body = ch }
    end },
    { "/notes", get = function() return { body = #notes .. " " .. tostring(notes[#notes]) } end },
  },
}
]]

describe("a channel as a body", function()
  local s, folder

  setup(function()
    folder = server.folder()
    server.write(folder .. "/file.txt", "of a file\n")
    s = server.start({ script = SCRIPT:gsub("FILE", folder .. "/file.txt") })
  end)
  teardown(function()
    s:stop()
    server.remove_folder(folder)
  end)

  local function get(path) return assert(raw.get(s.port, path)) end
  local function body(name, type)
    local response = get("/bodies/" .. name .. (type and "?type=" .. type or ""))
    assert.equal(200, response.status)
    assert.is_true(response.complete)
    local header = response.headers["content-type"]
    return response.body, header and header[1]
  end

  it("writes each item as it comes, and ends when it is closed (B26)", timed(function()
    local c <close> = assert(raw.connect(s.port))
    c:send("GET /timed HTTP/1.1\r\nHost: a\r\n\r\n")
    local response = c:read_response()
    assert.is_true(response.complete)
    assert.equal(5, #response.chunks)
    for i, chunk in ipairs(response.chunks) do
      assert.equal(i .. "\n", chunk.bytes)
      local gap = i > 1 and chunk.at - response.chunks[i - 1].at or 100
      assert.is_true(math.abs(gap - 100) < (server.sanitized and 80 or 40), gap)
    end
  end))

  it("writes strings as they are", function()
    assert.same({ "one two", "text/plain; charset=utf-8" }, { body("strings") })
    assert.same({ "one two", "text/html" }, { body("strings", "text/html") })
    assert.same({ "one two", "application/json" }, { body("strings", "application/json") })
  end)

  it("writes tables, numbers, booleans and nulls as a line of JSON each", function()
    local lines = '{"a":1}\n[1,[2]]\n3\ntrue\nnull\n'
    assert.same({ lines, "application/x-ndjson" }, { body("tables") })
    assert.same({ lines, "application/jsonl" }, { body("tables", "application/jsonl") })
    assert.same({ lines, "text/html" }, { body("tables", "text/html") })
  end)

  it("writes them as the elements of a sequence where Content-Type says so", function()
    local json = body("tables", "application/json")
    assert.equal('[{"a":1},[1,[2]],3,true,null]', json)
    assert.equal('[1,["a","b"],[2]]', (body("sequences", "application/json"):gsub("\n", "")))
    assert.equal("[]", (body("empty", "application/json")))
  end)

  it("writes whatever is a body as a part of it", function()
    local text, header = body("mixed")
    assert.equal("text/plain; charset=utf-8", header)
    assert.equal('string\n{"table":1}\nfunction\n["a","b"]["g"]<box>\ninner channel\nof a file\nof a file\n', text)
  end)

  it("has the type of its first item", function()
    assert.same({ '[1]\nstring\n', "application/x-ndjson" }, { body("table-first") })
    assert.same({ "x" }, { body("function-first") })
    assert.same({ "" }, { body("empty") })
  end)

  it("refuses what is no body, by its type", function()
    assert.equal(500, get("/bodies/task").status)
    s:wait_log("cannot be streamed as a body")
  end)

  it("may be a part of a response", function()
    assert.equal("abc[1]\nd", get("/parts").body)
  end)

  it("is not asked for a HEAD", function()
    local response = raw.request(s.port, "HEAD /timed HTTP/1.1\r\nHost: a\r\n\r\n", nil, { head = true })
    assert.equal(200, response.status)
  end)

  describe("whose producers are gone", function()
    it("is a 500 when nothing was sent (B26, B32)", function()
      assert.equal(500, get("/dies-first").status)
      s:wait_log("dies%-first: a task has failed: before anything")
    end)

    it("breaks the response when something was (B26, B33)", function()
      local response = get("/dies")
      assert.equal("one ", response.body)
      assert.is_false(response.complete)
      s:wait_log("dies: aborted after 4 bytes, id %x+%-%x+: body: no task is left that could put to the channel")
      s:wait_log("dies: a task has failed: in the middle")
    end)

    it("as well when they have but forgotten to close it (B26)", function()
      local response = get("/forgets")
      assert.is_truthy(response.status == 500 or not response.complete)
      s:wait_log("GET /forgets: .*no task is left")
    end)
  end)

  describe("that others put to", function()
    it("is theirs as long as they like", function()
      local c <close> = assert(raw.connect(s.port))
      c:send("GET /room HTTP/1.1\r\nHost: a\r\n\r\n")
      server.eventually(function() return get("/say?text=hello").body == "said" end)
      assert(c:read_until("hello\n"))
      get("/say?text=again")
      assert(c:read_until("again\n"))
      get("/leave")
      assert(c:read_until("0\r\n\r\n"))
    end)

    it("is closed with the exchange that has made it: they are told", function()
      local c = assert(raw.connect(s.port))
      c:send("GET /room HTTP/1.1\r\nHost: a\r\n\r\n")
      server.eventually(function() return get("/say?text=hello").body == "said" end)
      c:close()
      server.eventually(function() return get("/say?text=x").body == "the channel is closed" end)
      get("/leave")
    end)

    it("and was made by none, outlives the readers", function()
      local c = assert(raw.connect(s.port))
      c:send("GET /shared HTTP/1.1\r\nHost: a\r\n\r\n")
      get("/put?text=one")
      assert(c:read_until("one\n"))
      c:close()
      harness.sleep(0.05)
      get("/put?text=two")
      local d <close> = assert(raw.connect(s.port))
      d:send("GET /shared HTTP/1.1\r\nHost: a\r\n\r\n")
      assert(d:read_until("two\n"))
      get("/close")
      assert(d:read_until("0\r\n\r\n"))
      assert.equal(500, get("/put?text=three").status)
    end)
  end)

  it("holds its producer back while the client is slow, and ends it when that goes (B13, B20)", function()
    local c = assert(raw.connect(s.port, { rcvbuf = 4096 }))
    c:send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
    assert(c:read_until("xxxx"))
    local last
    server.eventually(function()
      local before = last
      last = get("/notes").body
      harness.sleep(0.05)
      return last == before
    end)
    assert.is_true(tonumber(last:match("%d+")) < 200)
    c:reset()
    server.eventually(function() return get("/notes").body:find("producer closed") end)
  end)
end)
