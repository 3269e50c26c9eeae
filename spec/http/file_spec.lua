-- tg.file as a body, as clients receive it: conditions, ranges, what is not there, and what goes wrong.
local curl = require("curl")
local harness = require("harness")
local lfs = require("lfs")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")

local function options(query)
  local o = {}
  for name, value in pairs(query) do
    if name == "true" or name == "false" then o[value] = name == "true" end
    if name ~= "true" and name ~= "false" and name ~= "path" then o[name] = tonumber(value) or value end
  end
  return next(o) and o or nil
end

local function serve(request)
  return { body = tg.file(request.query.path, options(request.query)) }
end

local notes = {}
local function note(ctx)
  ctx:on_close(function(reason) notes[#notes + 1] = reason end)
end

return {
  limits = { write_timeout = 5 },
  routes = {
    { "/file", get = { { name = "note", enter = note }, serve }, post = serve },
    { "/notes", get = function() return { body = table.concat(notes, " ") .. "." } end },
    { "/own", get = function(request)
      return { headers = { ETag = '"mine"', ["Last-Modified"] = "Sun, 06 Nov 1994 08:49:37 GMT",
        ["Content-Type"] = "text/mine", ["content-disposition"] = "inline" },
        body = tg.file(request.query.path, { download = true }) }
    end },
    { "/status", get = function(request)
      return { status = 404, body = tg.file(request.query.path) }
    end },
    { "/none", get = function(request)
      return { headers = { ["Accept-Ranges"] = "none" }, body = tg.file(request.query.path) }
    end },
    { "/length", get = function(request)
      return { headers = { ["Content-Length"] = request.query.n }, body = tg.file(request.query.path) }
    end },
    { "/parts", get = function(request, ctx)
      ctx:write_response({ body = tg.file(request.query.path) })
      ctx:write_response_body(tg.file(request.query.path, { sendfile = false }))
      ctx:write_response_body("end")
    end },
    { "/cancelled", get = function(request, ctx)
      ctx:write_response({ status = 200 })
      local task = tg.spawn(function() ctx:write_response_body(tg.file(request.query.path)) end)
      tg.sleep(0.2)
      task:cancel()
      tg.log.info("cancelled", pcall(ctx.write_response_body, ctx, "more"))
    end },
    { "/given-up", get = function(request, ctx)
      local big = { ["X-Big"] = ("x"):rep(65500) }
      local ok = pcall(ctx.write_response, ctx, { headers = big, body = tg.file(request.query.path) })
      ctx:write_response_body(tg.file(request.query.other))
      ctx:write_response_body(tostring(ok))
    end },
    { "/answered", get = { { name = "e", error = function(ctx, err)
      ctx.response = { status = err.status, body = err.stage .. " " .. err.status }
    end }, serve } },
    { "/fallback", get = { { name = "e", error = function(ctx, err)
      ctx.response = { body = tg.file(ctx.request.query.other) }
    end }, function(request)
      return { headers = { ["Content-Length"] = 1 }, body = tg.file(request.query.path) }
    end } },
  },
}
]]

local function escape(text)
  return (text:gsub("[^%w/._-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

describe("tg.file", function()
  local s, dir, path, text

  setup(function()
    s = server.start({ script = SCRIPT })
    dir = server.folder()
    path = dir .. "/file.txt"
    local parts = {}
    for i = 1, 20000 do parts[i] = ("%07d\n"):format(i) end
    text = table.concat(parts)
    server.write(path, text)
  end)
  teardown(function()
    server.remove_folder(dir)
    s:stop()
  end)

  local function ask(target, fields, method)
    local head = method == "HEAD"
    local request = ("%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(method or "GET", target,
      (fields or ""):gsub("\n", "\r\n"))
    return assert(raw.request(s.port, request, 10, { head = head }))
  end
  local function get(fields, query, method)
    return ask("/file?path=" .. escape(path) .. (query or ""), fields, method)
  end
  local function header(response, name)
    local list = response.headers[name]
    return list and (assert(#list == 1, name .. " is repeated") and list[1]) or nil
  end

  describe("whole", function()
    it("is exact for sizes around the edges, sent by sendfile or read (B22)", function()
      local other = dir .. "/sizes"
      for _, size in ipairs({ 0, 1, 32767, 32768, 32769, 65535, 65536, 65537, 262144, 2097152, 2097153, 5000001 }) do
        local whole = ("0123456789abcdef\n"):rep(size // 17 + 1):sub(1, size)
        server.write(other, whole)
        for _, mode in ipairs({ "", "&false=sendfile" }) do
          local response = ask("/file?path=" .. other .. mode)
          assert.equal(200, response.status)
          assert.equal(tostring(size), header(response, "content-length"))
          assert.is_true(response.body == whole, size .. mode)
        end
      end
    end)

    local GB = 1000 * 1000 * 1000
    local function write_sparse()
      local big = dir .. "/big"
      local file <close> = assert(io.open(big, "wb"))
      for _, mark in ipairs({ { 0, "begin" }, { 3 * GB - 3, "middle" }, { 5 * GB - 3, "end" } }) do
        file:seek("set", mark[1])
        file:write(mark[2])
      end
      return big
    end

    it("of 5 GB is exact at both ends and in the middle (B22)", function()
      local big = write_sparse()
      for _, row in ipairs({ { "0-6", "begin\0\0" }, { tostring(3 * GB - 4) .. "-" .. 3 * GB + 3, "\0middle\0" },
        { "-4", "\0end" }, { "5000000000-", nil } }) do
        local response = ask("/file?path=" .. big, "Range: bytes=" .. row[1] .. "\n")
        assert.equal(row[2] and 206 or 416, response.status)
        if row[2] then assert.equal(row[2], response.body) end
      end
      assert.equal(tostring(5 * GB), header(ask("/file?path=" .. big, "", "HEAD"), "content-length"))
      local rest = ask("/file?path=" .. big, ("Range: bytes=%d-\n"):format(5 * GB - 20 * 1000 * 1000))
      assert.equal("\0end", rest.body:sub(-4))
      assert.equal(20 * 1000 * 1000, #rest.body)
    end)

    it("of 5 GB is sent in flat memory (B22) #slow", function()
      local big = write_sparse()
      ask("/file?path=" .. big, "Range: bytes=0-9999999\n")
      local before = s:rss()
      local result = curl.run({ "-o", "/dev/null", "--max-time", "120", s.url .. "/file?path=" .. big })
      assert.same({ 0, 5 * GB }, { result.exit, math.tointeger(result.size_download) })
      assert.is_true(server.sanitized or s:rss() - before < 2048, "memory grew")
    end)

    it("says what it is (B22)", function()
      local response = get()
      assert.equal("text/plain; charset=utf-8", header(response, "content-type"))
      assert.equal("bytes", header(response, "accept-ranges"))
      local info = lfs.attributes(path)
      assert.equal(os.date("!%a, %d %b %Y %H:%M:%S GMT", info.modification), header(response, "last-modified"))
      assert.matches(('^"%x%%-%x%%-%%x+"$'):format(info.ino, #text), header(response, "etag"))
    end)

    it("has another ETag after every change (B22)", function()
      local other = dir .. "/changed"
      server.write(other, "one")
      local first = header(ask("/file?path=" .. other), "etag")
      assert.equal(first, header(ask("/file?path=" .. other), "etag"))
      lfs.touch(other, 1000000000, 1000000000)
      assert.not_equal(first, header(ask("/file?path=" .. other), "etag"))
      local touched = header(ask("/file?path=" .. other), "etag")
      server.write(dir .. "/new", "one")
      lfs.touch(dir .. "/new", 1000000000, 1000000000)
      assert(os.rename(dir .. "/new", other))
      assert.not_equal(touched, header(ask("/file?path=" .. other), "etag"))
    end)

    it("has the same head for HEAD, and no body (B22, B29)", function()
      local c <close> = assert(raw.connect(s.port))
      c:send(("HEAD %s HTTP/1.1\r\nHost: a\r\n\r\nGET %s HTTP/1.1\r\nHost: a\r\n\r\n")
        :format("/file?path=" .. path, "/notes"))
      local head = c:read_response(5, { head = true })
      assert.equal(".", c:read_response(5).body:sub(-1))
      local whole = get()
      for _, name in ipairs({ "content-length", "content-type", "etag", "last-modified", "accept-ranges" }) do
        assert.equal(header(whole, name), header(head, name), name)
      end
    end)
  end)

  describe("in parts", function()
    it("is a range of it (B22)", function()
      for range, want in pairs({ ["0-0"] = { 1, 1 }, ["8-15"] = { 9, 16 }, ["159990-"] = { 159991, 160000 },
        ["-3"] = { 159998, 160000 }, ["100-999999"] = { 101, 160000 }, ["0-"] = { 1, 160000 },
        ["100-100000"] = { 101, 100001 } }) do
        for _, mode in ipairs({ "", "&false=sendfile" }) do
          local response = get("Range: bytes=" .. range .. "\n", mode)
          assert.equal(206, response.status)
          assert.equal(("bytes %d-%d/160000"):format(want[1] - 1, want[2] - 1), header(response, "content-range"))
          assert.equal(tostring(want[2] - want[1] + 1), header(response, "content-length"))
          assert.equal("text/plain; charset=utf-8", header(response, "content-type"))
          assert.is_true(response.body == text:sub(want[1], want[2]), range)
        end
      end
    end)

    -- The parts of a multipart/byteranges body: a list of { fields, bytes }.
    local function parts_of(response)
      local boundary = header(response, "content-type"):match("^multipart/byteranges; boundary=(%x+)$")
      local rest, parts = "\r\n" .. response.body, {}
      while true do
        local head, at = rest:match("^\r\n%-%-" .. boundary .. "\r\n(.-\r\n)\r\n()")
        if not head then break end
        local ends = assert(rest:find("\r\n--" .. boundary, at, true))
        parts[#parts + 1] = { head, rest:sub(at, ends - 1) }
        rest = rest:sub(ends)
      end
      assert.equal("\r\n--" .. boundary .. "--\r\n", rest)
      return parts
    end

    it("is several ranges of it, each with its place (B22)", function()
      for _, mode in ipairs({ "", "&false=sendfile" }) do
        local response = get("Range: bytes=80000-159999, 0-7,-0,70000-70009\n", mode)
        assert.equal(206, response.status)
        assert.is_nil(header(response, "content-range"))
        assert.equal(tostring(#response.body), header(response, "content-length"))
        local function part(first, last)
          return { ("Content-Type: text/plain; charset=utf-8\r\nContent-Range: bytes %d-%d/160000\r\n")
            :format(first, last), text:sub(first + 1, last + 1) }
        end
        assert.same({ part(80000, 159999), part(0, 7), part(70000, 70009) }, parts_of(response))
      end
    end)

    it("is one part when its ranges overlap, and the whole when there are too many (B22)", function()
      local response = get("Range: bytes=0-99,50-149,140-159\n")
      assert.equal("bytes 0-159/160000", header(response, "content-range"))
      assert.equal(text:sub(1, 160), response.body)
      local many = {}
      for i = 0, 99 do many[i + 1] = ("%d-%d"):format(i * 1000, i * 1000) end
      local whole = get("Range: bytes=" .. table.concat(many, ",") .. "\n")
      assert.equal(200, whole.status)
      assert.is_true(whole.body == text)
    end)

    it("is 416 with the size when there is nothing there (B22)", function()
      for _, range in ipairs({ "160000-", "-0", "200000-300000,-0" }) do
        local response = get("Range: bytes=" .. range .. "\n")
        assert.equal(416, response.status)
        assert.equal("bytes */160000", header(response, "content-range"))
        assert.equal("Range Not Satisfiable\n", response.body)
      end
    end)

    it("is the whole where a range makes no sense, or for HEAD and POST (B22)", function()
      for _, range in ipairs({ "bytes=x", "lines=0-1", "bytes=2-1" }) do
        assert.equal(200, get("Range: " .. range .. "\n").status)
      end
      local head = get("Range: bytes=0-1\n", "", "HEAD")
      assert.same({ 200, "160000" }, { head.status, header(head, "content-length") })
      local post = get("Range: bytes=0-1\nIf-None-Match: *\nContent-Length: 0\n", "", "POST")
      assert.same({ 200, 160000 }, { post.status, #post.body })
      assert.is_nil(header(post, "etag"))
    end)

    it("depends on If-Range: by tag or by date (B22)", function()
      local whole = get()
      local function status(condition) return get("Range: bytes=0-1\nIf-Range: " .. condition .. "\n").status end
      assert.equal(206, status(header(whole, "etag")))
      assert.equal(206, status(header(whole, "last-modified")))
      assert.equal(200, status('"other"'))
      assert.equal(200, status("Sun, 06 Nov 1994 08:49:37 GMT"))
    end)

    it("is what a client that resumes gets (B22)", function()
      local copy = dir .. "/copy"
      server.write(copy, text:sub(1, 70000))
      local result = curl.run({ "-C", "-", "-o", copy, s.url .. "/file?path=" .. path })
      assert.same({ 0, 206 }, { result.exit, result.status })
      assert.is_true(server.read(copy) == text)
    end)

    it("is not for one who has said so (B22)", function()
      local response = get("Range: bytes=0-1\n", "&false=ranges")
      assert.same({ 200, 160000 }, { response.status, #response.body })
      assert.is_nil(header(response, "accept-ranges"))
      local none = ask("/none?path=" .. path, "Range: bytes=0-1\n")
      assert.same({ 200, "none" }, { none.status, header(none, "accept-ranges") })
    end)
  end)

  describe("under conditions", function()
    it("is 304 for one who has it, with its validators and without a body (B22)", function()
      local whole = get()
      for _, condition in ipairs({ "If-None-Match: " .. header(whole, "etag"), "If-None-Match: *",
        "If-Modified-Since: " .. header(whole, "last-modified") }) do
        for _, method in ipairs({ "GET", "HEAD" }) do
          local response = get(condition .. "\nRange: bytes=0-1\n", "", method)
          assert.equal(304, response.status)
          assert.equal("", response.body)
          assert.equal(header(whole, "etag"), header(response, "etag"))
          assert.is_nil(header(response, "content-length"))
          assert.is_nil(header(response, "content-type"))
        end
      end
      assert.equal(200, get('If-None-Match: "other"\n').status)
      assert.equal(200, get("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\n").status)
    end)

    it("is 412 for one who wants another, before anything else (B22)", function()
      for _, condition in ipairs({ 'If-Match: "other"', "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT" }) do
        local response = get(condition .. "\nIf-None-Match: *\nRange: bytes=0-1\n")
        assert.equal(412, response.status)
        assert.equal("Precondition Failed\n", response.body)
      end
      assert.equal(206, get("If-Match: " .. header(get(), "etag") .. "\nRange: bytes=0-1\n").status)
    end)

    it("is compared by what the script says (B22)", function()
      local function own(fields) return ask("/own?path=" .. path, fields) end
      local response = own()
      assert.equal('"mine"', header(response, "etag"))
      assert.equal("Sun, 06 Nov 1994 08:49:37 GMT", header(response, "last-modified"))
      assert.equal("text/mine", header(response, "content-type"))
      assert.equal("inline", header(response, "content-disposition"))
      assert.equal(304, own('If-None-Match: "mine"\n').status)
      assert.is_nil(header(own('If-None-Match: "mine"\n'), "content-type"))
      assert.equal("text/plain; charset=utf-8", header(own('If-Match: "other"\n'), "content-type"))
      assert.equal(304, own("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\n").status)
      assert.equal(412, own("If-Match: " .. header(get(), "etag") .. "\n").status)
      assert.matches("Content%-Type: text/mine\r\n", own("Range: bytes=0-1,500-501\n").body)
    end)

    it("is compared by what the options say (B22)", function()
      local response = get("", "&etag=v1&last_modified=784111777&content_type=a/b")
      assert.same({ '"v1"', "Sun, 06 Nov 1994 08:49:37 GMT", "a/b" },
        { header(response, "etag"), header(response, "last-modified"), header(response, "content-type") })
      assert.equal(304, get('If-None-Match: "v1"\n', "&etag=v1").status)
      local bare = get("If-None-Match: *\n", "&false=etag")
      assert.equal(304, bare.status)
      assert.is_nil(header(bare, "etag"))
      local dateless = get("If-Modified-Since: " .. header(get(), "last-modified") .. "\n", "&false=last_modified")
      assert.equal(200, dateless.status)
      assert.is_nil(header(dateless, "last-modified"))
    end)

    it("is the whole where the script has set another status (B22)", function()
      local response = ask("/status?path=" .. path, "Range: bytes=0-1\nIf-None-Match: *\n")
      assert.same({ 404, 160000 }, { response.status, #response.body })
      assert.is_nil(header(response, "etag"))
    end)

    it("never has two lengths (B34)", function()
      assert.equal(500, ask("/length?n=5&path=" .. path).status)
      assert.equal(200, ask("/length?n=160000&path=" .. path).status)
      assert.equal(206, ask("/length?n=160000&path=" .. path, "Range: bytes=0-1\n").status)
    end)
  end)

  describe("as a download", function()
    it("is named (RFC 6266)", function()
      assert.equal('attachment; filename="file.txt"', header(get("", "&true=download"), "content-disposition"))
      assert.equal([[attachment; filename="_.txt"; filename*=UTF-8''%E2%82%AC.txt]],
        header(get("", "&download=" .. escape("€.txt")), "content-disposition"))
      assert.is_nil(header(get("If-None-Match: *\n", "&true=download"), "content-disposition"))
      assert.is_nil(header(get(), "content-disposition"))
    end)
  end)

  describe("that cannot be served", function()
    it("is 404 when it is missing, a folder, or what might block (B23)", function()
      assert(os.execute("mkfifo " .. dir .. "/fifo"))
      for _, other in ipairs({ "/nonexistent/file", dir, dir .. "/", path .. "/x", dir .. "/fifo", "/dev/zero",
        "/dev/tty", dir .. "/" .. ("x"):rep(300), path .. "\0.png" }) do
        local response = ask("/file?path=" .. escape(other))
        assert.equal(404, response.status, other)
        assert.equal("Not Found\n", response.body)
      end
    end)

    it("is 403 when it may not be read (B23)", function()
      local locked = dir .. "/locked"
      server.write(locked, "x")
      assert(os.execute("chmod 0 " .. locked))
      local root = lfs.attributes("/proc/self", "uid") == 0
      local wrap = root and { "setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all" }
      local other <close> = server.start({ script = SCRIPT, wrap = wrap or nil })
      local response = assert(raw.get(other.port, "/file?path=" .. locked))
      assert.same({ 403, "Forbidden\n" }, { response.status, response.body })
    end)

    it("goes through the error stage, and may be answered there (B23, B32)", function()
      local response = ask("/answered?path=/nonexistent")
      assert.same({ 404, "body 404" }, { response.status, response.body })
      assert.equal("body 404", ask("/answered?path=" .. dir).body)
    end)

    it("is followed by another one that is (B32)", function()
      server.write(dir .. "/other", "the other")
      assert.equal("the other", ask(("/fallback?path=%s&other=%s"):format(path, dir .. "/other")).body)
    end)

    it("is not sent in the place of another one (B37)", function()
      server.write(dir .. "/other", "the other")
      local response = ask(("/given-up?path=%s&other=%s"):format(path, dir .. "/other"))
      assert.equal("the otherfalse", response.body)
    end)

    it("is an error of the script's when an option is wrong", function()
      for query, why in pairs({ ["&colour=red"] = "no option colour", ["&true=root"] = "root is a boolean",
        ["&root=/nonexistent"] = "root /nonexistent", ["&etag=a%20b"] = "etag has", ["&last_modified=-1"] = "last_modified",
        ["&ranges=1"] = "ranges is a number", ["&content_type=a%0Ab"] = "content_type is no", ["&follow=x"] = "follow is a string" }) do
        local lines = #s:log()
        assert.equal(500, get("", query).status, query)
        s:wait_log(why:gsub("[%-]", "%%-"), 2, lines + 1)
      end
    end)
  end)

  describe("below a root", function()
    local root

    setup(function()
      root = dir .. "/root"
      assert(lfs.mkdir(root))
      assert(lfs.mkdir(root .. "/sub"))
      server.write(root .. "/sub/inside", "inside")
      server.write(dir .. "/outside", "outside")
      assert(lfs.link("../outside", root .. "/out", true))
      assert(lfs.link("sub/inside", root .. "/in", true))
    end)

    local function below(name, query)
      return ask(("/file?path=%s&root=%s%s"):format(escape(name), escape(root), query or ""))
    end

    it("is found, through links that stay there (B23)", function()
      assert.equal("inside", below("sub/inside").body)
      assert.equal("inside", below("in").body)
    end)

    it("is never found anywhere else (B23)", function()
      for _, name in ipairs({ "../outside", "out", "sub/../../outside", "/etc/passwd", path, "..", ".", "in\0" }) do
        assert.equal(404, below(name).status, name)
      end
    end)

    it("may be behind a link when links may be followed, but not above (B23)", function()
      assert.equal("outside", below("out", "&true=follow").body)
      for _, name in ipairs({ "../outside", "sub/../../outside", "/etc/passwd", ".." }) do
        assert.equal(404, below(name, "&true=follow").status, name)
      end
    end)
  end)

  describe("while it is sent", function()
    local function stall(query)
      local c = assert(raw.connect(s.port, { rcvbuf = 4096 }))
      c:send("GET /file?path=" .. query .. " HTTP/1.1\r\nHost: a\r\n\r\n")
      assert(c:read_until("\r\n\r\n"))
      return c
    end

    local function large(name, size)
      local file <close> = assert(io.open(dir .. "/" .. name, "wb"))
      file:seek("set", size - 1)
      file:write("x")
      return dir .. "/" .. name
    end

    it("is aborted when it becomes shorter, and so is nothing else (B23)", function()
      for _, mode in ipairs({ "", "&false=sendfile" }) do
        local other = large("shrinks", 50000000)
        local lines = #s:log()
        local c <close> = stall(other .. mode)
        assert(io.open(other, "wb")):close()
        local body, why = c:read_all(10)
        assert.is_true(#body < 50000000)
        assert.is_true(why == "closed" or why == "reset", why)
        s:wait_log("became shorter", 5, lines + 1)
      end
      assert.equal(200, get().status)
    end)

    it("is let go of when its client leaves (B15, B24)", function()
      local other = large("left", 50000000)
      get()
      local before = s:fds()
      for _, mode in ipairs({ "", "&false=sendfile" }) do
        for _ = 1, 5 do stall(other .. mode):close() end
        for _ = 1, 5 do stall(other .. mode):reset() end
      end
      server.eventually(function() return s:fds() <= before end)
    end)

    it("is let go of when its task is cancelled, and the body is broken then (B15, B33)", function()
      local other = large("cancelled", 50000000)
      get()
      local before = s:fds()
      local c <close> = assert(raw.connect(s.port, { rcvbuf = 4096 }))
      c:send("GET /cancelled?path=" .. other .. " HTTP/1.1\r\nHost: a\r\n\r\n")
      s:wait_log("cancelled false", 5)
      local response = c:read_response(10)
      assert.is_false(response.complete)
      assert.is_true(#response.body < 50000000)
      server.eventually(function() return s:fds() <= before end)
    end)

    it("costs no memory while its client is slow (B20, B22)", function()
      local other = large("slow", 50000000)
      stall(other):close()
      local before = s:rss()
      local clients = {}
      for i = 1, 20 do clients[i] = stall(other .. (i % 2 == 0 and "&false=sendfile" or "")) end
      s:cpu_after_rest()
      local grown = s:rss() - before
      assert.is_true(server.sanitized or grown < 20 * 400, grown .. " KiB")
      for _, c in ipairs(clients) do c:close() end
    end)

    it("lets others have their turn (B20)", timed(function()
      local other = large("hog", 400000000)
      local process <close> = assert(harness.spawn({ "curl", "-s", "-o", "/dev/null", s.url .. "/file?false=sendfile&path=" .. other }, {}))
      local worst = 0
      while not process:wait(0) do
        local start = harness.now()
        assert.equal(".", ask("/notes").body:sub(-1))
        worst = math.max(worst, harness.now() - start)
      end
      assert.is_true(worst < (server.sanitized and 1000 or 300), worst .. " ms")
    end))
  end)

  it("is closed on every way out (B24)", function()
    get()
    local before = s:fds()
    for _, mode in ipairs({ "", "&false=sendfile" }) do
      for _, fields in ipairs({ "", "Range: bytes=0-1,500-501,-5\n", "Range: bytes=999999-\n", "If-None-Match: *\n",
        'If-Match: "x"\n' }) do
        for _, method in ipairs({ "GET", "HEAD" }) do get(fields, mode, method) end
      end
    end
    for _, target in ipairs({ "/length?n=5&path=" .. path, "/parts?path=" .. path, "/file?path=" .. dir,
      "/fallback?path=/nonexistent&other=" .. path, "/fallback?path=" .. path .. "&other=" .. dir, "/given-up?path=" .. path .. "&other=" .. path }) do
      ask(target)
    end
    server.eventually(function() return s:fds() <= before end)
  end)

  it("may be a part of a body, whole (B37)", function()
    local response = ask("/parts?path=" .. path, "Range: bytes=0-1\nIf-None-Match: *\n")
    assert.equal(200, response.status)
    assert.is_nil(header(response, "etag"))
    assert.is_true(response.body == text .. text .. "end")
  end)
end)
