-- Bodies by their type, as clients receive them.
local cjson = require("cjson")
local curl = require("curl")
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
local big = ("x"):rep(100 * 1024 * 1024)

local Self = {
  __content_type = "text/x-self",
  __write_body = function(self, out) out:write("<", self.text, ">") end,
}

local function count_opened()
  local n = 0
  for _ in io.popen("ls /proc/self/fd"):lines() do n = n + 1 end
  return n
end

local closed = {}
local function tracked(name)
  return setmetatable({}, { __close = function() closed[#closed + 1] = name end })
end

return {
  routes = {
    { "/string", get = function() return { body = "hello" } end },
    { "/typed", get = function() return { body = "<p>", headers = { ["Content-Type"] = "text/html" } } end },
    { "/nil", get = function() return { status = 200 } end },
    { "/big", get = function() return { body = big } end },
    { "/memory", get = function() return { body = tostring(collectgarbage("count")) } end },
    { "/table", get = function()
      return { body = { list = { 1, 2.5, "x\n\"é", true }, empty = {}, object = tg.json.object({}),
        b = 1, a = 2, nested = { seq = tg.generate(function(yield) yield(1) yield({ k = "v" }) end) },
        iter = tg.seq(("a b c"):gmatch("%a")) } }
    end },
    { "/list", get = function() return { body = { 1, 2, 3 } } end },
    { "/cycle", get = function() local t = { a = {} } t.a.b = t return { body = t } end },
    { "/nan", get = function() return { body = { x = 0 / 0 } } end },
    { "/range", get = function(request)
      local limit = math.tointeger(request.query.limit) or 10
      return { body = tg.generate(function(yield) for i = 0, limit - 1 do yield(i) end end) }
    end },
    { "/paused", get = function()
      return { body = tg.generate(function(yield)
        for i = 1, 8 do tg.sleep(0.12) yield(i) end
      end) }
    end },
    { "/endless", get = function()
      return { body = tg.generate(function(yield)
        local t <close> = tracked("endless")
        local i = 0
        while true do i = i + 1 yield(i) end
      end) }
    end },
    { "/closed", get = function() return { body = table.concat(closed, ",") .. "." } end },
    { "/function", get = { { name = "cookie", leave = function(ctx) ctx.response.headers = { ["Set-Cookie"] = { "a=1", "b=2" } } end },
      function()
        return { body = function(out, ctx)
          out:write("one")
          tg.sleep(0.3)
          out:write("two", 3)
          tg.sleep(0.3)
          out:write(tostring(out.bytes), " ", ctx.request.path)
          return "ignored"
        end }
      end } },
    { "/tiny", get = function()
      return { body = function(out) for _ = 1, 300000 do out:write("x") end end }
    end },
    { "/print", get = function() return { body = function(out) out:print({ a = 1 }) out:print("x") end } end },
    { "/flush", get = function()
      return { body = function(out) out:write("now") out:flush() tg.wait(function() end, 1) end }
    end },
    { "/self", get = function() return { body = setmetatable({ text = "me" }, Self) } end },
    { "/self-typed", get = function()
      return { body = setmetatable({ text = "me" }, Self), headers = { ["content-type"] = "text/mine" } }
    end },
    { "/mistaken", get = function()
      return { body = function(out)
        local write, handle = out.write, rawget(out, 1)
        local function try(...) out:write(select(2, pcall(...)), "\n") end
        for _, value in ipairs({ 1, "sixteen bytes, 16", io.stdout, {}, { io.stdout }, { ("x"):rep(16) }, out.print }) do
          try(write, value, "x")
        end
        try(write)
        try(write, out, {})
        try(out.print, out)
        out[1] = io.stdout
        local well, message = pcall(write, out, "x")
        out[1] = handle
        out:write(tostring(well), " ", message, "\n", tostring(out.nothing))
      end }
    end },
    { "/out", get = function() return { body = function(out) out:print({ out }) end } end },
    { "/coroutine", get = function()
      return { body = coroutine.create(function() for i = 1, 3 do coroutine.yield(i) end end) }
    end },
    { "/wrap", get = function()
      return { body = tg.seq(coroutine.wrap(function()
        for i = 1, 3 do tg.sleep(0.01) coroutine.yield(i) end
      end)) }
    end },
    { "/ndjson", get = function()
      return { headers = { ["Content-Type"] = "application/x-ndjson" },
        body = tg.generate(function(yield) yield({ a = 1 }) yield("x") yield({ 1, 2 }) end) }
    end },
    { "/text", get = function()
      return { headers = { ["Content-Type"] = "text/plain" },
        body = tg.generate(function(yield) yield("a") yield(1) yield(true) end) }
    end },
    { "/unknown-type", get = function() return { body = { 1 }, headers = { ["Content-Type"] = "image/png" } } end },
    { "/boolean", get = function() return { status = 200, body = true } end },
    { "/userdata", get = function(request) return { status = 200, body = request } end },
    { "/file", get = function(request) return { body = tg.file(request.query.path) } end },
    { "/204", get = function() return { status = 204, body = "never" } end },
    { "/304", get = function() return { status = 304, body = "never" } end },
    { "/bad-name", get = function() return { status = 200, headers = { ["a b"] = "x" } } end },
    { "/bad-value", get = function() return { status = 200, headers = { ["X-A"] = "x\r\nX-B: y" } } end },
    { "/numbers", get = function() return { status = 200, headers = { ["X-N"] = 42 }, body = "" } end },
    { "/framing", get = function() return { status = 200, headers = { ["Transfer-Encoding"] = "chunked" }, body = "" } end },
    { "/stalled", get = function()
      return { body = function(out) local piece = ("y"):rep(1024) while true do out:write(piece) end end }
    end },
  },
}
]]

describe("bodies", function()
  local s

  setup(function() s = server.start({ script = SCRIPT }) end)
  teardown(function() s:stop() end)

  -- A sanitized build is slower, and its memory is not the program's.
  local slack = server.sanitized and 100 or 0
  local function assert_flat(before, kib)
    local grown = s:rss() - before
    assert.is_true(server.sanitized or grown < kib, ("memory grew by %d KiB"):format(grown))
  end

  local function send(text)
    local c = assert(raw.connect(s.port))
    c:send(text)
    return c
  end

  local function get(path, headers)
    local c <close> = send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n" .. (headers or "") .. "\r\n")
    return c:read_response(10)
  end

  describe("of a string", function()
    it("has a length and is text unless told otherwise (B16)", function()
      local response = get("/string")
      assert.equal("text/plain; charset=utf-8", response.headers["content-type"][1])
      assert.equal("5", response.headers["content-length"][1])
      assert.equal("hello", response.body)
      assert.equal("text/html", get("/typed").headers["content-type"][1])
    end)

    it("is empty for nil, with no type (B16)", function()
      local response = get("/nil")
      assert.equal("0", response.headers["content-length"][1])
      assert.is_nil(response.headers["content-type"])
    end)

    it("of 100 MB is sent without a copy (B16)", function()
      local before = s:rss()
      local c <close> = send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
      c:read_until("\r\n\r\n", 5)
      assert_flat(before, 4096)
    end)
  end)

  describe("of a table", function()
    it("prints as JSON with sorted keys and nested sequences (B17)", function()
      local response = get("/table")
      assert.equal("application/json", response.headers["content-type"][1])
      assert.equal([[{"a":2,"b":1,"empty":[],"iter":["a","b","c"],"list":[1,2.5,"x\n\"é",true],]]
        .. [["nested":{"seq":[1,{"k":"v"}]},"object":{}}]], response.body)
      assert.same({ 1, 2, 3 }, cjson.decode(get("/list").body))
    end)

    it("is an error for cycles and NaN, which shows the path (B17)", function()
      assert.equal(500, get("/cycle").status)
      s:wait_log("%$%.a%.b", 2)
      assert.equal(500, get("/nan").status)
      s:wait_log("%$%.x", 2)
    end)

    it("is an error as a type that nothing prints (B27)", function()
      assert.equal(500, get("/unknown-type").status)
      s:wait_log("image/png", 2)
    end)
  end)

  describe("of a sequence", function()
    it("streams ten elements by default (B18)", function()
      assert.equal("[0,1,2,3,4,5,6,7,8,9]", get("/range").body)
      assert.equal("[0,1,2]", get("/range?limit=3").body)
      assert.equal("[]", get("/range?limit=0").body)
    end)

    it("of 10,000,000 elements needs no memory to speak of (B18) #slow", function()
      get("/range?limit=100000")
      local before = s:rss()
      local result = curl.run({ "-s", "-o", "/dev/null", "-w", "%{size_download} %{time_starttransfer}",
        s.url .. "/range?limit=10000000" })
      local size, first = result.stdout:match("(%d+) ([%d.]+)")
      assert.equal(78888891, tonumber(size))
      assert.is_true(tonumber(first) < 0.5)
      assert_flat(before, 2048)
    end)

    it("sends each element as it comes, the head with the first (B19)", timed(function()
      local c <close> = send("GET /paused HTTP/1.1\r\nHost: a\r\n\r\n")
      local start = harness.now()
      local response = c:read_response(10)
      assert.equal("[1,2,3,4,5,6,7,8]", response.body)
      local at = {}
      for _, chunk in ipairs(response.chunks) do
        if chunk.bytes:find("%d") then at[#at + 1] = chunk.at - start end
      end
      assert.equal(8, #at)
      local before = 0
      for i, ms in ipairs(at) do
        local gap = ms - before
        assert.is_true(gap > 90 and gap < 140 + slack, ("element %d after %.0f ms"):format(i, gap))
        before = ms
      end
    end))

    it("stops its producer when the client stops reading, and is closed when it goes (B20)", timed(function()
      local c = send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
      c:read_until("%[1,2", 5)
      local before = s:cpu_after_rest()
      assert.equal("hello", get("/string").body)
      assert.is_true(s:cpu_after_rest() - before <= 2, "the producer goes on")
      c:close()
      server.eventually(function() return get("/closed").body:find("endless", 1, true) end)
    end))

    it("may be a coroutine, or an iterator that waits (B14)", function()
      assert.equal("[1,2,3]", get("/coroutine").body)
      assert.equal("[1,2,3]", get("/wrap").body)
    end)

    it("prints a line each as ndjson and as text (B27)", function()
      assert.equal('{"a":1}\n"x"\n[1,2]\n', get("/ndjson").body)
      assert.equal("a\n1\ntrue\n", get("/text").body)
    end)

    it("prints as Accept asks, JSON winning ties (B27)", function()
      local response = get("/range?limit=2", "Accept: application/x-ndjson\r\n")
      assert.equal("0\n1\n", response.body)
      assert.equal("application/x-ndjson", response.headers["content-type"][1])
      assert.equal("0\n1\n", get("/range?limit=2", "Accept: text/*;q=0.9, */*;q=0.1\r\n").body)
      assert.equal("[0,1]", get("/range?limit=2", "Accept: text/plain, application/json, */*\r\n").body)
    end)
  end)

  describe("of a function", function()
    it("is called after all leaves, and its parts arrive as they are written (B21)", function()
      local c <close> = send("GET /function HTTP/1.1\r\nHost: a\r\n\r\n")
      local response = c:read_response(5)
      assert.equal("onetwo37 /function", response.body)
      assert.same({ "a=1", "b=2" }, response.headers["set-cookie"])
      assert.equal(3, #response.chunks)
      assert.is_true(response.chunks[2].at - response.chunks[1].at > 280)
      assert.is_true(response.chunks[3].at - response.chunks[2].at > 280)
    end)

    it("gathers tiny writes into chunks of 64 KiB (B21)", function()
      local response = get("/tiny")
      assert.equal(300000, #response.body)
      -- Five, and one more for each time that others have had a turn meanwhile.
      assert.is_true(#response.chunks <= 20, #response.chunks .. " chunks")
    end)

    it("prints values with out:print (B21)", function()
      assert.matches('{"a":1}%s*"x"', get("/print").body)
    end)

    it("has a writer that knows itself, whatever it is mistaken for", function()
      local lines = {}
      for line in get("/mistaken").body:gmatch("[^\n]+") do lines[#lines + 1] = line:gsub("^.-bad argument", "bad argument") end
      local kinds = { "number", "string", "FILE*", "table", "table", "table", "function" }
      for i, kind in ipairs(kinds) do
        assert.equal("bad argument #1 to '?' (tidegate.Writer expected, got " .. kind .. ")", lines[i])
      end
      assert.matches("tidegate.Writer expected, got no value", lines[8])
      assert.matches("string expected, got table", lines[9])
      assert.matches("value expected", lines[10])
      assert.matches("tidegate.Writer expected", lines[11])
      assert.equal("nil", lines[12])
      assert.equal(500, get("/out").status)
      s:wait_log("%$%[1%]", 2)
    end)

    it("sends at out:flush (B21)", timed(function()
      local c <close> = send("GET /flush HTTP/1.1\r\nHost: a\r\n\r\n")
      local start = harness.now()
      c:read_until("now", 5)
      assert.is_true(harness.now() - start < 500)
    end))

    it("holds its producer back at high water (B20)", function()
      local before = s:rss()
      local c <close> = send("GET /stalled HTTP/1.1\r\nHost: a\r\n\r\n")
      c:read_until("yyyy", 5)
      s:cpu_after_rest()
      assert_flat(before, 1024)
    end)
  end)

  it("of an object is written by itself (B25)", function()
    local response = get("/self")
    assert.equal("<me>", response.body)
    assert.equal("text/x-self", response.headers["content-type"][1])
    assert.equal("text/mine", get("/self-typed").headers["content-type"][1])
  end)

  it("of an unknown type is a 500 that names the type in the log (B28)", function()
    assert.equal(500, get("/boolean").status)
    s:wait_log("a boolean cannot be streamed", 2)
    assert.equal(500, get("/userdata").status)
    s:wait_log("cannot be streamed as a body", 2)
  end)

  describe("of a file", function()
    local path

    setup(function() path = os.tmpname() end)
    teardown(function() os.remove(path) end)

    local function write(text)
      local file <close> = assert(io.open(path, "wb"))
      file:write(text)
    end

    it("is exact for sizes around the edges (B22)", function()
      for _, size in ipairs({ 0, 1, 65536, 1048576, 3000001 }) do
        local text = ("0123456789abcdef"):rep(size // 16 + 1):sub(1, size)
        write(text)
        local response = get("/file?path=" .. path)
        assert.equal(tostring(size), response.headers["content-length"][1])
        assert.is_true(response.body == text)
      end
    end)

    it("has its type by extension (B22)", function()
      local response = get("/file?path=README.md")
      assert.equal("text/markdown; charset=utf-8", response.headers["content-type"][1])
    end)

    it("is 404 when it is missing or a folder, 403 when it cannot be read (B23)", function()
      assert.equal(404, get("/file?path=/nonexistent/file").status)
      assert.equal(404, get("/file?path=/tmp").status)
    end)

    it("leaves no descriptor open (B24)", function()
      write("x")
      get("/file?path=" .. path)
      local before = s:fds()
      for _ = 1, 20 do get("/file?path=" .. path) end
      server.eventually(function() return s:fds() <= before end)
    end)
  end)

  describe("of a response without one", function()
    it("is not sent for HEAD, whose head is GET's (B29)", function()
      local c <close> = send("HEAD /string HTTP/1.1\r\nHost: a\r\n\r\nGET /string HTTP/1.1\r\nHost: a\r\n\r\n")
      local head = c:read_response(5, { head = true })
      assert.equal("5", head.headers["content-length"][1])
      assert.equal("hello", c:read_response(5).body)
    end)

    it("is not sent with 204 and 304, nor a length (B29)", function()
      for _, status in ipairs({ 204, 304 }) do
        local c <close> = send(("GET /%d HTTP/1.1\r\nHost: a\r\n\r\nGET /string HTTP/1.1\r\nHost: a\r\n\r\n"):format(status))
        local response = c:read_response(5)
        assert.equal(status, response.status)
        assert.is_nil(response.headers["content-length"])
        assert.is_nil(response.headers["transfer-encoding"])
        assert.equal("hello", c:read_response(5).body)
      end
    end)
  end)

  describe("headers", function()
    it("repeat for a list (B30)", function()
      assert.same({ "a=1", "b=2" }, get("/function").headers["set-cookie"])
      assert.equal("42", get("/numbers").headers["x-n"][1])
    end)

    it("never go out with a bad name or a line break in the value (B30)", function()
      for _, path in ipairs({ "/bad-name", "/bad-value", "/framing" }) do
        local response = get(path)
        assert.equal(500, response.status)
        assert.is_nil(response.headers["x-b"])
      end
    end)
  end)

  it("end with the connection for HTTP/1.0, unchunked (B31)", function()
    local c <close> = send("GET /range HTTP/1.0\r\n\r\n")
    local text = c:read_all(5)
    assert.matches("\r\n\r\n%[0,1,2,3,4,5,6,7,8,9%]$", text)
    assert.is_nil(text:lower():find("transfer-encoding", 1, true))
  end)
end)
