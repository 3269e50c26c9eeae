-- Bodies that are changed, copied or read on their way.
local curl = require("curl")
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SIZE = 10 * 2 ^ 20

local SCRIPT = [[
local tg = require("tidegate")
local dir, upstream = %q, %q
local upper = string.upper

local closed = {}
local function tracked(name)
  return setmetatable({}, { __close = function() closed[#closed + 1] = name end })
end

local Self = { __content_type = "text/x-self", __write_body = function(self, out) out:write("<", self.text, ">") end }

local bodies = {
  string = function() return "a string" end,
  large = function() return ("large "):rep(100000) end,
  empty = function() return "" end,
  none = function() return nil end,
  table = function() return { list = { 1, 2, "three" }, map = { a = tg.generate(function(yield) yield("x") end) } } end,
  sequence = function() return tg.seq(("a b c"):gmatch("%%a")) end,
  generator = function() return tg.generate(function(yield) for i = 1, 20000 do yield("v" .. i) end end) end,
  coroutine = function() return coroutine.create(function() coroutine.yield("co") end) end,
  ["function"] = function() return function(out, ctx) out:write(ctx.request.path) out:flush() out:write("!") end end,
  file = function() return tg.file(dir .. "/f.txt") end,
  handle = function() return io.open(dir .. "/f.txt") end,
  object = function() return setmetatable({ text = "me" }, Self) end,
  request = function(request) return request.body end,
  channel = function()
    local ch = tg.channel()
    tg.spawn(function() for i = 1, 5 do ch:put("item" .. i) end ch:close() end)
    return ch
  end,
  fetched = function() return tg.fetch(upstream .. "/plain/file") end,
  again = function() return tg.map_body(tg.map_body("again", string.lower), function(s) return s:reverse() end) end,
}

local function with(change)
  return function(request)
    return { status = 200, body = change(bodies[request.path_params.name](request)) }
  end
end

local function identity(body) return body end
local function mapped(body) return tg.map_body(body, upper, function() return "~" end) end

local function paused(pause)
  return tg.generate(function(yield) for i = 1, 8 do tg.sleep(pause) yield(i) end end)
end

local function endless()
  return tg.generate(function(yield)
    local t <close> = tracked("producer")
    local i = 0
    while true do i = i + 1 yield(i) end
  end)
end

local kept, seen = {}, {}
local total = 0

return {
  interceptors = { { name = "maybe", enter = function(ctx)
    if ctx.request.query.compress then return tg.compress().enter(ctx) end
  end } },
  routes = {
    { "/plain/:name", get = with(identity), post = with(identity) },
    { "/mapped/:name", get = with(mapped), post = with(mapped) },
    { "/paused", get = function() return { body = tg.map_body(paused(0.12), function(s) return s end) } end },
    { "/waits", get = function()
      return { body = tg.map_body(tg.generate(function(yield) for i = 1, 4 do yield(i) tg.sleep(0.01) end end),
        function(s) tg.sleep(0.05) return s end, function() tg.sleep(0.05) return "." end) }
    end },
    { "/swallow", get = function() return { body = tg.map_body(("x"):rep(300000), function() end, function() return 42 end) } end },
    { "/endless", get = function()
      return { body = tg.map_body(endless(), function(s)
        local t <close> = tracked("map")
        return s
      end) }
    end },
    { "/held", get = function()
      return { body = tg.map_body("x", function()
        local t <close> = tracked("held")
        closed[#closed + 1] = "holding"
        tg.wait(function() end)
      end) }
    end },
    { "/closed", get = function() return { body = table.concat(closed, ",") .. "." } end },
    { "/raises/:where/:when", get = function(request)
      local where, late = request.path_params.where, request.path_params.when == "late"
      local function raise() if late then tg.sleep(0.05) end error({ status = 418, message = "raised in " .. where }) end
      return { body = tg.map_body(function(out)
        local t <close> = tracked("raising")
        out:write("some text")
        if late then tg.sleep(0.01) end
        if where == "body" then raise() end
        if where == "map" then tg.sleep(0.01) out:write("more") tg.sleep(0.3) end
      end, function(s)
        if where == "map" and (not late or s == "more") then raise() end
        return s
      end, function() if where == "finish" then raise() end end) }
    end },
    { "/wrong", get = function() return { body = tg.map_body("x", function() return {} end) } end },
    { "/replaced", get = { { name = "r", error = function(ctx) ctx.response = { body = tg.map_body("instead", upper) } end },
      function() return { body = tg.map_body("x", function() error("no") end) } end } },
    { "/abandoned", get = { { name = "r", error = function(ctx)
        ctx.response = { body = function(out) tg.sleep(0.05) out:write(table.concat(closed, ",")) end }
      end }, function()
        closed = {}
        return { body = tg.map_body(endless(), function() error("no") end) }
      end } },
    { "/unused", get = function()
      local body = tg.map_body(tg.file(dir .. "/f.txt"), upper)
      return { status = 204, body = body }
    end },
    { "/low", get = function(_, ctx)
      ctx:write_response({ headers = { ["Content-Type"] = "text/plain" }, body = tg.map_body("one ", upper) })
      ctx:write_response_body(tg.map_body({ 1 }, function(s) return s .. " " end))
      ctx:write_response_body("three")
    end },
    { "/leaf", get = function()
      return { body = { a = tg.map_body(tg.generate(function(yield) yield("x") end), upper), b = tg.map_body("text", upper) } }
    end },
    { "/tee", get = function(request)
      seen = {}
      local body = bodies[request.query.name or "generator"]()
      return { body = tg.tee(body, function(chunk) seen[#seen + 1] = chunk or "END" end) }
    end },
    { "/seen", get = function() return { body = table.concat(seen) } end },
    { "/tee-file", get = function(request)
      return { body = tg.tee(bodies.generator(), assert(io.open(request.query.path, "wb"))) }
    end },
    { "/tee-full", get = function() return { body = tg.tee(bodies.large(), assert(io.open("/dev/full", "wb"))) } end },
    { "/tee-slow", get = function()
      total = 0
      return { body = tg.tee(endless(), function(chunk) total = total + #chunk tg.sleep(0.02) end) }
    end },
    { "/total", get = function() return { body = tostring(total) } end },
    { "/read", get = function(request)
      local parts = {}
      for chunk in tg.read_body(bodies[request.query.name](request), request.query.type):chunks() do parts[#parts + 1] = chunk end
      return { body = table.concat(parts) }
    end },
    { "/read-joined", get = function()
      local reader = tg.read_body(function(out)
        out:write("first ")
        out:flush()
        local task = tg.spawn(function() tg.sleep(0) return "joined " end)
        out:write(task:join())
        out:flush()
        task:cancel()
        out:write("last")
      end)
      return { body = reader:all() }
    end },
    { "/read-all", get = function() return { body = tostring(#tg.read_body(bodies.large()):all(1000000)) } end },
    { "/read-too-much", get = function() return { body = tg.read_body(bodies.large()):all(1000) } end },
    { "/read-part", get = function()
      do
        local reader <close> = tg.read_body(endless())
        reader:read()
      end
      local other = tg.read_body(endless())
      other:read()
      other:close()
      other:close()
      return { body = tostring(select(2, pcall(other.read, other))) }
    end },
    { "/read-raises", get = function()
      local reader = tg.read_body(function(out) out:write("x") tg.sleep(0.01) error({ status = 409, message = "busy" }) end)
      local first = reader:read()
      local ok, err = pcall(reader.read, reader)
      local same = select(2, pcall(reader.read, reader))
      return { body = first .. tostring(ok) .. err.status .. tostring(rawequal(err, same)) }
    end },
    { "/read-twice", get = function()
      local reader = tg.read_body(paused(10))
      local other = tg.spawn(function() return pcall(reader.read, reader) end)
      tg.sleep(0.05)
      local _, why = pcall(reader.read, reader)
      other:cancel()
      reader:close()
      return { body = why }
    end },
    { "/read-dropped", get = function()
      tg.read_body(endless()):read()
      for _ = 1, 10 do tg.read_body(tg.file(dir .. "/f.txt")) end
      collectgarbage()
      collectgarbage()
      return { body = "dropped" }
    end },
    { "/read-keep", get = function()
      kept = { tg.read_body(endless()), tg.read_body("not begun") }
      return { body = kept[1]:read():sub(1, 6) }
    end },
    { "/read-kept", get = function()
      local a, b = select(2, pcall(kept[1].read, kept[1])), select(2, pcall(kept[2].read, kept[2]))
      return { body = tostring(a) .. "|" .. tostring(b) }
    end },
    { "/read-nothing", get = function() return { body = tostring(select(2, pcall(tg.read_body, io.stdout and true))) } end },
    { "/memory", get = function() collectgarbage() collectgarbage() return { body = tostring(collectgarbage("count")) } end },
  },
}
]]

describe("filters", function()
  local s, dir, up

  setup(function()
    dir = server.folder()
    server.write(dir .. "/f.txt", ("some text in a file\n"):rep(SIZE // 20))
    up = server.start({ script = SCRIPT:format(dir, "") })
    s = server.start({ script = SCRIPT:format(dir, up.url) })
  end)
  teardown(function()
    s:stop()
    up:stop()
    server.remove_folder(dir)
  end)

  local slack = server.sanitized and 100 or 0

  local function assert_flat(before, kib)
    local grown = s:rss() - before
    assert.is_true(server.sanitized or grown < kib, ("memory grew by %d KiB"):format(grown))
  end

  local function send(path, method, body)
    local c = assert(raw.connect(s.port))
    c:send(("%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n%s"):format(method or "GET", path,
      body and ("Content-Length: %d\r\n"):format(#body) or "", body or ""))
    return c
  end

  local function get(path, method, body)
    local c <close> = send(path, method, body)
    return c:read_response(20, { head = method == "HEAD" })
  end

  local function closed() return get("/closed").body end

  describe("tg.map_body", function()
    for _, name in ipairs({ "string", "large", "empty", "none", "table", "sequence", "generator", "coroutine",
      "function", "file", "handle", "object", "channel", "fetched", "again" }) do
      it("changes the bytes of a body of any type: " .. name, function()
        local plain, mapped = get("/plain/" .. name), get("/mapped/" .. name)
        assert.equal(200, mapped.status)
        local expected = plain.body:gsub("/plain/", "/mapped/"):upper() .. "~"
        assert.is_true(mapped.body == expected)
        if name ~= "channel" then -- its type is that of its first item
          assert.same(plain.headers["content-type"], mapped.headers["content-type"])
        end
        assert.is_true(mapped.complete)
      end)
    end

    it("changes what the client itself sends (B49)", function()
      local text = ("from the client "):rep(50000)
      assert.is_true(get("/mapped/request", "POST", text).body == text:upper() .. "~")
    end)

    it("gives a body that ends at once its length (B32)", function()
      assert.equal("9", get("/mapped/string").headers["content-length"][1])
      assert.equal("chunked", get("/mapped/file").headers["transfer-encoding"][1])
    end)

    it("leaves no range of a file, nor its validators, standing (B22)", function()
      local c <close> = assert(raw.connect(s.port))
      c:send("GET /mapped/file HTTP/1.1\r\nHost: a\r\nRange: bytes=0-5\r\n\r\n")
      local response = c:read_response(10)
      assert.equal(200, response.status)
      assert.is_nil(response.headers.etag)
      assert.is_nil(response.headers["accept-ranges"])
    end)

    it("lets each element of a paused sequence through in time (B19)", timed(function()
      local c <close> = send("/paused")
      local start = harness.now()
      local response = c:read_response(10)
      assert.equal("[1,2,3,4,5,6,7,8]", response.body)
      local before, count = 0, 0
      for _, chunk in ipairs(response.chunks) do
        if chunk.bytes:find("%d") then
          local gap = chunk.at - start - before
          assert.is_true(gap > 40 and gap < 240 + slack, ("an element after %.0f ms"):format(gap))
          before, count = before + gap, count + 1
        end
      end
      assert.equal(8, count)
    end))

    it("may wait in its functions, leave chunks out, and give numbers", function()
      assert.equal("[1,2,3,4].", get("/waits").body)
      assert.equal("42", get("/swallow").body)
    end)

    it("is held back by a slow client, in flat memory, and ends with it (B20)", timed(function()
      local c = send("/endless")
      c:read_until("%[1,2", 5)
      local before = s:rss()
      local ticks = s:cpu_after_rest()
      assert.is_truthy(get("/plain/string").body)
      assert.is_true(s:cpu_after_rest() - ticks <= 2, "the producer goes on")
      assert_flat(before, 1024)
      local count = select(2, closed():gsub("producer", ""))
      local start = harness.now()
      c:close()
      server.eventually(function() return select(2, closed():gsub("producer", "")) > count end)
      assert.is_true(harness.now() - start < 100 + 5 * slack)
    end))

    it("ends a function that waits when the client goes (B13)", function()
      local c = send("/held")
      server.eventually(function() return closed():find("holding", 1, true) end)
      c:close()
      server.eventually(function() return closed():find("held", 1, true) end)
    end)

    it("makes errors before the first byte a real answer, wherever they are raised (B32)", function()
      for _, where in ipairs({ "body", "map", "finish" }) do
        assert.equal(418, get("/raises/" .. where .. "/early").status, where)
      end
      assert.equal(500, get("/wrong").status)
      s:wait_log("tg.map_body: the function returned a table, expected a string or nil")
      assert.equal("INSTEAD", get("/replaced").body)
      assert.equal("producer", get("/abandoned").body)
    end)

    it("cuts the body for errors after it, and closes its producer (B33)", function()
      for _, where in ipairs({ "body", "map", "finish" }) do
        local count = select(2, closed():gsub("raising", ""))
        local response = get("/raises/" .. where .. "/late")
        assert.equal(200, response.status)
        assert.is_false(response.complete)
        assert.is_true(select(2, closed():gsub("raising", "")) > count, where)
        s:wait_log("/raises/:where/:when: aborted.*raised in " .. where)
      end
      local result = curl.run({ s.url .. "/raises/body/late" })
      assert.is_true(result.exit == 18 or result.exit == 56)
    end)

    it("can be a part of a response, and of a table (B17, B37)", function()
      assert.equal("ONE 1\n three", get("/low").body)
      assert.equal('{"a":["X"],"b":"TEXT"}', get("/leaf").body)
    end)

    it("is coded on its way as any other body (B78)", function()
      local result = curl.run({ "--compressed", s.url .. "/mapped/generator?compress=1" })
      assert.equal(0, result.exit)
      assert.is_true(result.stdout == get("/mapped/generator").body)
    end)

    it("opens nothing for HEAD and 204 that it does not close (B15)", function()
      get("/plain/string")
      local before = s:fds()
      for _ = 1, 5 do
        assert.equal(204, get("/unused").status)
        assert.equal(200, get("/mapped/file", "HEAD").status)
      end
      server.eventually(function() return s:fds() <= before end)
    end)

    it("gives everything back, however it ends (B15)", function()
      local function round()
        for i, path in ipairs({ "/mapped/file", "/mapped/handle", "/endless", "/raises/map/late", "/raises/body/early",
          "/held", "/mapped/generator", "/tee", "/read-part", "/mapped/fetched" }) do
          local c = send(path)
          c:more(harness.now() + (path == "/held" and 10 or 5000))
          if i % 2 == 0 then c:reset() else c:close() end
        end
        return tonumber(get("/memory").body)
      end
      for _ = 1, 3 do round() end
      local fds, memory, lua = s:fds(), s:rss(), round()
      for _ = 1, 10 do round() end
      server.eventually(function() return round() - lua < 50 end) -- some may not have ended yet
      assert_flat(memory, 2048)
      server.eventually(function() return s:fds() <= fds end)
    end)
  end)

  describe("tg.tee", function()
    it("gives a function what goes by, and tells it of the end", function()
      local body = get("/tee").body
      assert.is_true(body == get("/plain/generator").body)
      assert.is_true(get("/seen").body == body .. "END")
    end)

    it("writes to a file, and closes it", function()
      local fds = s:fds()
      local body = get("/tee-file?path=" .. dir .. "/copy").body
      assert.is_true(server.read(dir .. "/copy") == body)
      server.eventually(function() return s:fds() <= fds end)
      assert.is_false(get("/tee-full").complete and get("/tee-full").status == 200)
    end)

    it("does not tell of an end that did not come", function()
      local c = send("/tee?name=file")
      c:more(harness.now() + 5000)
      c:reset()
      get("/plain/string")
      server.eventually(function() return not get("/seen").body:find("END", 1, true) end)
    end)

    it("has the body wait for a slow sink (B20)", function()
      local c <close> = send("/tee-slow")
      c:read_head()
      local start = harness.now()
      while harness.now() - start < 500 do c:more(harness.now() + 100) c.buffer = "" end
      assert.is_true(tonumber(get("/total").body) < 30 * 65536 + slack * 65536)
    end)
  end)

  describe("tg.read_body", function()
    it("reads a body of any type", function()
      for _, name in ipairs({ "string", "large", "empty", "table", "generator", "function", "file", "object", "channel" }) do
        local plain = get("/plain/" .. name).body:gsub("/plain/function", "/read")
        assert.is_true(get("/read?name=" .. name).body == plain, name)
      end
      assert.equal("1\n2\n", get("/read?name=sequence&type=text/plain").body:gsub("%a", { a = 1, b = 2, c = "" }):sub(1, 4))
    end)

    it("reads one that joins and cancels tasks", function()
      assert.equal("first joined last", get("/read-joined").body)
    end)

    it("has all of it, up to a limit: 413 past it", function()
      assert.equal("600000", get("/read-all").body)
      assert.equal(413, get("/read-too-much").status)
    end)

    it("closes what is not read to its end (B15)", function()
      local count = select(2, closed():gsub("producer", ""))
      assert.equal("closed", get("/read-part").body)
      assert.equal(count + 2, select(2, closed():gsub("producer", "")))
    end)

    it("raises what the body has raised, the same each time", function()
      assert.equal("xfalse409true", get("/read-raises").body)
    end)

    it("is of one task at a time", function()
      assert.matches("another task reads this body", get("/read-twice").body)
    end)

    it("may be dropped, and kept past its exchange (B15)", function()
      local fds = s:fds()
      assert.equal("dropped", get("/read-dropped").body)
      server.eventually(function() return get("/memory") and s:fds() <= fds end)
      assert.equal("[1,2,3", get("/read-keep").body)
      get("/memory")
      local kept = get("/read-kept").body
      assert.matches("^%[?[%d,]*", kept)
      assert.matches("|.*is read in the exchange that it is produced for", kept)
    end)

    it("raises for what is no body", function()
      assert.equal(500, get("/read?name=nothing").status)
    end)
  end)
end)
