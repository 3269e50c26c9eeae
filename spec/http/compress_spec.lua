-- Responses that are coded on their way out, as clients decode them.
local curl = require("curl")
local harness = require("harness")
local probe = require("probe_encode")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local CODINGS = { "gzip", "br", "zstd" }
local SIZE = 20 * 2 ^ 20

local SCRIPT = [[
local tg = require("tidegate")
local text = {}
for i = 1, 2000 do text[i] = ("line %d of the text\n"):format(i * 7919 % 10007) end
text = table.concat(text)
local huge = text:rep(500)

local closed = {}
local function tracked(name)
  return setmetatable({}, { __close = function() closed[#closed + 1] = name end })
end

local function set(headers, status, body)
  return function() return { status = status or 200, headers = headers, body = body or text } end
end

local html = "text/html; charset=utf-8"

return {
  interceptors = { tg.compress() },
  limits = { body_bytes = 2 ^ 31 },
  routes = {
    { "/text", get = set({ ETag = '"v1"' }) },
    { "/html", get = set({ ["Content-Type"] = html }) },
    { "/problem", get = set({ ["Content-Type"] = "Application/Problem+JSON" }, 404) },
    { "/huge", get = set(nil, 200, huge) },
    { "/short", get = set(nil, 200, "short") },
    { "/image", get = set({ ["Content-Type"] = "image/png" }) },
    { "/untyped", get = function() return { body = function(out) out:write(text) end } end },
    { "/encoded", get = set({ ["Content-Encoding"] = "gzip" }) },
    { "/digest", get = set({ ["Repr-Digest"] = "sha-256=:x:" }) },
    { "/no-transform", get = set({ ["Cache-Control"] = { "no-cache", "max-age=5, No-Transform" } }) },
    { "/vary", get = set({ Vary = "Cookie, accept-encoding" }) },
    { "/vary-more", get = set({ Vary = { "Cookie", "Origin" } }) },
    { "/weak", get = set({ ETag = 'W/"v1"' }) },
    { "/204", get = set(nil, 204) },
    { "/304", get = set({ ETag = '"v1"' }, 304) },
    { "/partial", get = set({ ["Content-Range"] = "bytes 0-40000/50000" }, 206) },
    { "/declared", get = function()
      return { headers = { ["Content-Type"] = html, ["Content-Length"] = #text },
        body = function(out) out:write(text:sub(1, 1000)) out:flush() out:write(text:sub(1001)) end }
    end },
    { "/less", get = function()
      return { headers = { ["Content-Type"] = html, ["Content-Length"] = #text + 1 },
        body = function(out) out:write(text:sub(1, 1000)) out:flush() out:write(text:sub(1001)) end }
    end },
    { "/table", get = function() return { body = { a = 1, text = text } } end },
    { "/small-table", get = function() return { body = { a = 1 } } end },
    { "/range", get = function(request)
      local limit = math.tointeger(request.query.limit)
      return { body = tg.generate(function(yield) for i = 1, limit do yield(i) end end) }
    end },
    { "/paused", get = function()
      return { body = tg.generate(function(yield) for i = 1, 8 do tg.sleep(0.12) yield(i) end end) }
    end },
    { "/burst", get = function() -- more than is gathered, and then a pause
      return { headers = { ["Content-Type"] = html }, body = function(out)
        for i = 1, 30000 do out:write(("%05d,"):format(i)) end
        tg.sleep(1)
        out:write("end")
      end }
    end },
    { "/whole", get = function() -- nothing is gathered when the pause comes
      return { headers = { ["Content-Type"] = html }, body = function(out)
        local t = {}
        for i = 1, 30000 do t[i] = ("%05d,"):format(i) end
        out:write(table.concat(t))
        tg.sleep(1)
        out:write("end")
      end }
    end },
    { "/endless", get = function()
      return { body = tg.generate(function(yield)
        local t <close> = tracked("endless")
        local x = 1
        while true do x = x * 6364136223846793005 + 1442695040888963407 yield(x) end
      end) }
    end },
    { "/closed", get = function() return { body = table.concat(closed, ",") .. "." } end },
    { "/fails", get = function()
      return { headers = { ["Content-Type"] = html },
        body = function(out) out:write(text) out:flush() error("midway") end }
    end },
    { "/fails-early", get = function()
      return { headers = { ["Content-Type"] = html }, body = function(out) out:write(text) error("early") end }
    end },
    { "/low", get = function(_, ctx)
      ctx:write_response({ headers = { ["Content-Type"] = html }, body = "first " })
      tg.sleep(0.2)
      ctx:write_response_body(text)
      ctx:write_response_body(tg.generate(function(yield) yield("x") end))
    end },
    { "/file", get = function(request) return { body = tg.file(request.query.path) } end },
    { "/hello", get = function() return { body = "hello" } end },
  },
}
]]

describe("tg.compress", function()
  local s, dir

  setup(function()
    dir = server.folder()
    local rows = {}
    for i = 1, 1000 do rows[i] = ("%d;%x\n"):format(i, i * 2654435761 % 2 ^ 32) end
    rows = table.concat(rows)
    server.write(dir .. "/f.txt", rows:rep(SIZE // #rows + 1):sub(1, SIZE))
    s = server.start({ script = SCRIPT })
  end)
  teardown(function()
    s:stop()
    server.remove_folder(dir)
  end)

  local slack = server.sanitized and 100 or 0

  local function assert_flat(before, kib)
    local grown = s:rss() - before
    assert.is_true(server.sanitized or grown < kib, ("memory grew by %d KiB"):format(grown))
  end

  local function send(path, accepted, options)
    options = options or {}
    local c = assert(raw.connect(s.port, options))
    c:send(("%s %s HTTP/1.1\r\nHost: a\r\n%s%s\r\n"):format(options.method or "GET", path,
      accepted and "Accept-Encoding: " .. accepted .. "\r\n" or "", options.headers or ""))
    return c
  end

  local function get(path, accepted, options)
    local c <close> = send(path, accepted, options)
    return c:read_response(20, { head = options and options.method == "HEAD" })
  end

  local function decode(coding, bytes)
    local decoder = probe.decoder(coding)
    local plain = decoder:feed(bytes)
    return plain, decoder:ended()
  end

  local function header(response, name) return (response.headers[name] or {})[1] end

  local plain
  before_each(function() plain = plain or get("/text").body end)

  for _, coding in ipairs(CODINGS) do
    describe("to a client that accepts " .. coding, function()
      local function assert_coded(response, body)
        assert.equal(coding, header(response, "content-encoding"))
        assert.equal("Accept-Encoding", response.headers.vary[#response.headers.vary])
        assert.is_true(response.complete)
        local text, ended = decode(coding, response.body)
        assert.is_true(ended and text == body)
      end

      it("sends a body that ended at once with its length (B78)", function()
        for _, path in ipairs({ "/text", "/html", "/problem" }) do
          local response = get(path, coding)
          assert_coded(response, plain)
          assert.equal(#response.body, tonumber(header(response, "content-length")))
          assert.is_true(#response.body < #plain / 2)
        end
        assert_coded(get("/table", coding), get("/table").body)
      end)

      it("streams what is longer, or goes on (B78)", function()
        for _, path in ipairs({ "/huge", "/range?limit=200000", "/declared", "/low" }) do
          local response = get(path, coding)
          assert.is_nil(response.headers["content-length"])
          assert_coded(response, get(path).body)
        end
      end)

      it("lets each element of a paused sequence through in time (B19, B78)", timed(function()
        local c <close> = send("/paused", coding)
        local start = harness.now()
        local response = c:read_response(10)
        local decoder, at, text = probe.decoder(coding), {}, ""
        for _, chunk in ipairs(response.chunks) do
          local piece = decoder:feed(chunk.bytes)
          text = text .. piece
          if piece:find("%d") then at[#at + 1] = chunk.at - start end
        end
        assert.equal("[1,2,3,4,5,6,7,8]", text)
        assert.equal(8, #at)
        local before = 0
        for i, ms in ipairs(at) do
          local gap = ms - before
          assert.is_true(gap > 40 and gap < 240 + slack, ("element %d after %.0f ms"):format(i, gap))
          before = ms
        end
      end))

      it("leaves nothing in the coding while its producer sleeps (B78)", function()
        for _, path in ipairs({ "/burst", "/whole" }) do
          local c <close> = send(path, coding)
          local start = harness.now()
          local head = c:read_head()
          local decoder, got = probe.decoder(coding), {}
          local seen
          for chunk in function() return c:read_chunk(head) end do
            got[#got + 1] = decoder:feed(chunk)
            if not seen and got[#got]:find("30000,", 1, true) then seen = harness.now() - start end
          end
          assert.is_true(seen and seen < 800 + slack, "the last number came with the end")
          assert.equal(180003, #table.concat(got))
        end
      end)

      it("cuts a body that fails in the middle, and answers one that fails before with 500 (B32, B33)", function()
        local response = get("/fails", coding)
        assert.is_false(response.complete)
        local text, ended = decode(coding, response.body)
        assert.is_true(text == plain and not ended)
        response = get("/fails-early", coding)
        assert.equal(500, response.status)
        assert.is_nil(response.headers["content-encoding"])
        assert.equal("Internal Server Error\n", response.body)
        assert.is_false(get("/less", coding).complete)
      end)

      it("reads a file as it goes, in flat memory, holding nobody up (B22, B63)", timed(function()
        get("/text", coding)
        local before = s:rss()
        local c <close> = send("/file?path=" .. dir .. "/f.txt", coding)
        local decoder, len, slowest = probe.decoder(coding), 0, 0
        local head = c:read_head()
        local turn = 0
        for chunk in function() return c:read_chunk(head, 20) end do
          len = len + #decoder:feed(chunk)
          turn = turn + 1
          if turn % 40 == 0 then
            local start = harness.now()
            assert.equal("hello", get("/hello").body)
            slowest = math.max(slowest, harness.now() - start)
          end
        end
        assert.is_true(head.complete and decoder:ended())
        assert.equal(SIZE, len)
        assert.is_true(slowest < 50 + slack, ("others waited for %.0f ms"):format(slowest))
        assert_flat(before, 3072)
      end))

      it("is held back by a slow one, and ends when that goes (B20)", timed(function()
        get("/text", coding)
        local c = send("/endless", coding, { rcvbuf = 4096 })
        c:read_head()
        local before = s:rss()
        local ticks = s:cpu_after_rest()
        assert.equal("hello", get("/hello").body)
        assert.is_true(s:cpu_after_rest() - ticks <= 2, "the producer goes on")
        assert_flat(before, 2048)
        local count = select(2, get("/closed").body:gsub("endless", ""))
        c:close()
        server.eventually(function()
          return select(2, get("/closed").body:gsub("endless", "")) > count
        end)
      end))

      it("agrees with curl", function()
        if coding == "br" or coding == "gzip" or curl.run({ "--version" }).stdout:find("zstd") then
          for _, path in ipairs({ "/text", "/huge", "/range?limit=30000" }) do
            local result = curl.run({ "--compressed", "-H", "Accept-Encoding: " .. coding, s.url .. path })
            assert.equal(0, result.exit)
            assert.is_true(result.stdout == get(path).body)
          end
        end
      end)
    end)
  end

  it("chooses what the client likes best, and zstd among equals", function()
    assert.equal("zstd", header(get("/text", "gzip, br, zstd"), "content-encoding"))
    assert.equal("br", header(get("/text", "gzip;q=0.5, br"), "content-encoding"))
    assert.equal("gzip", header(get("/text", "*;q=0.1, gzip"), "content-encoding"))
  end)

  it("leaves a body as it is where the client accepts no other, and says that it varies (B78)", function()
    for _, accepted in ipairs({ false, "", "identity", "deflate", "gzip;q=0", "identity;q=1, gzip;q=0.5" }) do
      local response = get("/text", accepted)
      assert.is_nil(response.headers["content-encoding"])
      assert.equal("Accept-Encoding", header(response, "vary"))
      assert.equal('"v1"', header(response, "etag"))
      assert.equal(#plain, tonumber(header(response, "content-length")))
    end
  end)

  it("leaves alone what is short, of another type, or coded, and what may not be changed (B78)", function()
    local all = "gzip, br, zstd"
    for _, path in ipairs({ "/short", "/small-table" }) do
      local response = get(path, all)
      assert.is_nil(response.headers["content-encoding"])
      assert.equal(#response.body, tonumber(header(response, "content-length")))
    end
    for _, path in ipairs({ "/image", "/untyped", "/digest", "/no-transform" }) do
      local response = get(path, all)
      assert.is_nil(response.headers["content-encoding"])
      assert.is_nil(response.headers.vary)
      assert.is_true(response.body == plain)
    end
    local encoded = get("/encoded", all)
    assert.same({ "gzip" }, encoded.headers["content-encoding"])
    assert.is_true(encoded.body == plain)
  end)

  it("leaves ranges alone, and what has no body (B78)", function()
    local response = get("/partial", "gzip")
    assert.is_nil(response.headers["content-encoding"])
    assert.equal("Accept-Encoding", header(response, "vary"))
    local path = "/file?path=" .. dir .. "/f.txt"
    local whole = get(path, "gzip", { method = "HEAD" })
    assert.equal("gzip", header(whole, "content-encoding"))
    assert.is_nil(whole.headers["accept-ranges"])
    local tag = header(whole, "etag")
    assert.matches('^W/"', tag)
    response = get(path, "gzip", { headers = "Range: bytes=5-1999\r\n" })
    assert.equal(206, response.status)
    assert.is_nil(response.headers["content-encoding"])
    assert.equal(1995, #response.body)
    response = get(path, "gzip", { headers = "If-None-Match: " .. tag .. "\r\n" })
    assert.equal(304, response.status)
    assert.equal("Accept-Encoding", header(response, "vary"))
    for _, status in ipairs({ 204, 304 }) do
      response = get("/" .. status, "gzip")
      assert.equal(status, response.status)
      assert.is_nil(response.headers["content-encoding"])
    end
  end)

  it("keeps Vary right, and weakens a strong ETag (B78)", function()
    assert.same({ "Cookie, accept-encoding" }, get("/vary", "gzip").headers.vary)
    assert.same({ "Cookie", "Origin", "Accept-Encoding" }, get("/vary-more", "gzip").headers.vary)
    assert.equal('W/"v1"', header(get("/text", "gzip"), "etag"))
    assert.equal('W/"v1"', header(get("/weak", "gzip"), "etag"))
  end)

  it("gives HEAD the headers of GET, without a length (B29)", function()
    for _, path in ipairs({ "/text", "/huge", "/range?limit=100000", "/short" }) do
      local head, whole = get(path, "gzip", { method = "HEAD" }), get(path, "gzip")
      for _, name in ipairs({ "content-type", "content-encoding", "vary", "etag" }) do
        assert.same(whole.headers[name], head.headers[name])
      end
      assert.is_true(path == "/short" or not head.headers["content-length"])
      assert.equal("", head.body)
    end
  end)

  it("goes on to the next request only when all was coded (B52)", function()
    local c <close> = assert(raw.connect(s.port))
    local one = "GET /huge HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"
    c:send(one .. "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" .. one)
    local expected = plain:rep(500)
    for i = 1, 3 do
      local response = c:read_response(20)
      assert.is_true((i == 2 and response.body or decode("gzip", response.body)) == (i == 2 and "hello" or expected))
    end
  end)

  it("gives everything back, however it ends (B15)", function()
    local function round()
      for _, coding in ipairs(CODINGS) do
        for i, path in ipairs({ "/huge", "/endless", "/fails", "/fails-early", "/low", "/text" }) do
          local c = send(path, coding)
          c:more(harness.now() + 5000)
          if i % 2 == 0 then c:reset() else c:close() end
        end
      end
      assert.equal("hello", get("/hello").body)
    end
    for _ = 1, 10 do round() end
    local before = s:rss()
    for _ = 1, 10 do round() end
    assert_flat(before, 2048)
  end)

  it("sends HTTP/1.0 clients a coded body as well (B31)", function()
    local c <close> = assert(raw.connect(s.port))
    c:send("GET /range?limit=30000 HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
    local response = c:read_response(10)
    assert.equal("close", response.framing)
    assert.is_true(decode("gzip", response.body) == get("/range?limit=30000").body)
  end)

  it("takes its codings, their levels, the types and the least length from its options", function()
    local script = [[
      local tg = require("tidegate")
      local body = ("some text "):rep(50)
      local function answer(r) return { body = body, headers = { ["Content-Type"] = r.query.type } } end
      return { interceptors = { tg.compress({ codings = { "gzip", "zstd" }, levels = { gzip = 9 },
        types = { "text/*", "*+json", "image/bmp" }, min_length = 500 }) },
        routes = { { "/", get = answer }, { "/less", get = function() return { body = body:sub(2) } end } } }
    ]]
    local other <close> = server.start({ script = script })
    local function coding(path, accepted)
      local c <close> = assert(raw.connect(other.port))
      c:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\nAccept-Encoding: " .. accepted .. "\r\n\r\n")
      return header(c:read_response(), "content-encoding")
    end
    assert.equal("gzip", coding("/?type=text/plain", "zstd, br, gzip"))
    assert.is_nil(coding("/?type=text/plain", "br"))
    assert.equal("zstd", coding("/?type=TEXT/x;charset=a", "zstd"))
    assert.equal("gzip", coding("/?type=application/a%2Bjson", "gzip"))
    assert.equal("gzip", coding("/?type=image/bmp", "gzip"))
    assert.is_nil(coding("/?type=application/json", "gzip"))
    assert.is_nil(coding("/less", "gzip"))
  end)

  it("refuses options that make no sense, by their names", function()
    local rows = {
      { "{ codings = {} }", "codings: expected a list" },
      { "{ codings = { 'lzma' } }", "no coding lzma" },
      { "{ codings = { 'br', 'br' } }", "br is there twice" },
      { "{ levels = { gzip = 10 } }", "those of gzip are 1 to 9" },
      { "{ levels = { br = 1.5 } }", "those of br are 0 to 9" },
      { "{ levels = { identity = 1 } }", "no coding identity" },
      { "{ types = { 'text' } }", "types: expected a list" },
      { "{ types = { '" .. ("x"):rep(200) .. "/x' } }", "types: expected a list" },
      { "{ min_length = -1 }", "min_length: expected a number" },
      { "{ minlength = 1 }", "there is no option minlength" },
      { "5", "table expected, got number" },
    }
    for _, row in ipairs(rows) do
      server.write(dir .. "/app.lua", "local tg = require('tidegate') tg.compress(" .. row[1] .. ") return { routes = {} }")
      local result = server.command({ "check", dir .. "/app.lua" })
      assert.equal(1, result.exit)
      assert.is_truthy(result.stderr:find(row[2], 1, true), result.stderr)
    end
  end)
end)
