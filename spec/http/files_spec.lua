-- tg.files: a folder behind a route, and nothing but that folder.
local cjson = require("cjson")
local curl = require("curl")
local lfs = require("lfs")
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")
local dir = os.getenv("SPEC_DIR")
local root = dir .. "/root"
local function catch(options)
  return { { name = "catch", error = function(ctx, err)
    ctx.response = { status = err.status, body = err.stage .. ": " .. err.message }
  end }, tg.files(root, options) }
end

return {
  routes = {
    { "/files", get = tg.files(root) },
    { "/files/", get = tg.files(root) },
    { "/files/*path", get = tg.files(root) },
    { "/u/:id/*rest", get = tg.files(root, { param = "rest" }) },
    { "/wrong/*rest", get = tg.files(root) },
    { "/any/*path", any = tg.files(root) },
    { "/catch/*path", get = catch() },
    { "/list/", get = tg.files(root, { listing = true }) },
    { "/list/*path", get = tg.files(root, { listing = true }) },
    { "/hidden/*path", get = tg.files(root, { listing = true, hidden = true }) },
    { "/follow/*path", get = tg.files(root, { listing = true, follow = true }) },
    { "/pre/*path", get = tg.files(root, { precompressed = true }) },
    { "/cached/*path", get = tg.files(root, { cache_control = 3600.5, index = { "none", "other.txt" } }) },
    { "/said/*path", get = tg.files(root, { cache_control = "no-store", index = "other.txt" }) },
    { "/bare/*path", get = tg.files(root, { index = false, ranges = false, etag = false, download = true }) },
    { "/norange/*path", get = tg.files(root, { cache_control = "max-age=1", precompressed = true }) },
    { "/missing/*path", get = tg.files(dir .. "/nowhere") },
    { "/bad", get = function(request)
      local ok, why = pcall(tg.files, request.query.root, request.query.option and { [request.query.option] = 1 })
      return { body = tostring(ok) .. " " .. tostring(why) }
    end },
  },
}
]]

describe("tg.files", function()
  local s, dir, root

  setup(function()
    dir = server.folder()
    root = dir .. "/root"
    for _, name in ipairs({ "", "/sub", "/sub/deep", "/index", "/.git", "/empty", '/<i>&"' }) do assert(lfs.mkdir(root .. name)) end
    server.write(dir .. "/secret", "secret")
    server.write(root .. "/a.txt", "plain a")
    server.write(root .. "/a.txt.gz", "gzip a")
    server.write(root .. "/a.txt.br", "br a")
    server.write(root .. "/b.txt", "plain b")
    server.write(root .. "/.hidden", "hidden")
    server.write(root .. "/.git/config", "config")
    server.write(root .. "/sub/c d%&.txt", "strange")
    server.write(root .. "/sub/deep/x", "deep")
    server.write(root .. "/index/index.html", "<p>index")
    server.write(root .. "/index/other.txt", "other")
    server.write(root .. "/back\\slash", "back")
    assert(lfs.link("../secret", root .. "/out", true))
    assert(lfs.link("..", root .. "/up", true))
    assert(lfs.link("a.txt", root .. "/in", true))
    assert(lfs.link("sub/deep", root .. "/way", true))
    assert(os.execute("mkfifo " .. root .. "/fifo"))
    s = server.start({ script = SCRIPT, env = { SPEC_DIR = dir } })
  end)
  teardown(function()
    server.remove_folder(dir)
    s:stop()
  end)

  local function ask(target, fields, method)
    return assert(raw.request(s.port, ("%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(method or "GET", target,
      (fields or ""):gsub("\n", "\r\n")), 10, { head = method == "HEAD" }))
  end
  local function header(response, name) return response.headers[name] and response.headers[name][1] end
  local function status(target, fields) return ask(target, fields).status end

  it("serves what is in the folder, as tg.file does (B22)", function()
    local response = ask("/files/a.txt")
    assert.same({ 200, "plain a" }, { response.status, response.body })
    assert.equal("text/plain; charset=utf-8", header(response, "content-type"))
    assert.equal("deep", ask("/files/sub/deep/x").body)
    assert.equal("strange", ask("/files/sub/c%20d%25%26.txt").body)
    assert.equal("back", ask("/files/back%5Cslash").body)
    assert.equal(206, status("/files/a.txt", "Range: bytes=0-1\n"))
    assert.equal(304, status("/files/a.txt", "If-None-Match: " .. header(response, "etag") .. "\n"))
    assert.equal("7", header(ask("/files/a.txt", "", "HEAD"), "content-length"))
    assert.equal("plain a", ask("/u/a%2Fb/a.txt").body)
  end)

  it("serves through links that stay in the folder (B23)", function()
    assert.equal("plain a", ask("/files/in").body)
    assert.equal("deep", ask("/files/way/x").body)
  end)

  it("never leaves the folder (B23)", function()
    for _, path in ipairs({ "../secret", "..", "%2e%2e/secret", "%2E%2E%2Fsecret", "..%2fsecret", "sub/../../secret",
      "sub/%2e%2e/%2e%2e/secret", "sub/..", "sub/../a.txt", "./a.txt", ".", "sub%2Fdeep%2Fx", "sub%2fdeep/x", "a.txt%2F",
      "%2Fetc%2Fpasswd", "/etc/passwd", "//etc/passwd", "out", "up/secret", "up", "up/", "way/../../secret", "..\\secret",
      "..%5Csecret", "%252e%252e/secret", "sub//deep/x", "sub/deep//x", "a.txt/", "a.txt//", "/", "fifo", ".../a.txt" }) do
      local response = ask("/files/" .. path)
      assert.equal(404, response.status, path)
      assert.equal("Not Found\n", response.body)
    end
    assert.equal(400, status("/files/a.txt%00.png"))
    assert.equal(400, status("/files/%00"))
  end)

  it("leaves the folder by links where that is allowed, and by nothing else (B23)", function()
    assert.equal("secret", ask("/follow/out").body)
    assert.equal("secret", ask("/follow/up/secret").body)
    for _, path in ipairs({ "../secret", "%2e%2e/secret", "..%2fsecret", "sub/../../secret" }) do
      assert.equal(404, status("/follow/" .. path), path)
    end
  end)

  it("refuses what is hidden unless told otherwise", function()
    for _, path in ipairs({ ".hidden", ".git/config", ".git/", ".git" }) do
      assert.equal(404, status("/files/" .. path), path)
      assert.equal(404, status("/list/" .. path), path)
    end
    assert.equal("hidden", ask("/hidden/.hidden").body)
    assert.equal("config", ask("/hidden/.git/config").body)
    assert.equal(404, status("/hidden/.git/../.hidden"))
  end)

  it("answers with a status through the error stage (B23)", function()
    assert.same({ 404, "enter: nope: ENOENT" }, { status("/catch/nope"), ask("/catch/nope").body })
    assert.same({ 404, "enter: sub: a folder" }, { status("/catch/sub/"), ask("/catch/sub/").body })
    assert.equal(405, ask("/any/a.txt", "Content-Length: 0\n", "POST").status)
    assert.equal("GET, HEAD", header(ask("/any/a.txt", "Content-Length: 0\n", "DELETE"), "allow"))
    assert.equal(500, status("/missing/a.txt"))
    assert.equal(500, status("/wrong/a.txt"))
    s:wait_log('the route has no param "path"', 2)
  end)

  it("is 403 where it may not look (B23)", function()
    assert(lfs.mkdir(root .. "/locked"))
    server.write(root .. "/locked/x", "x")
    server.write(root .. "/locked.txt", "x")
    assert(os.execute(("chmod 0 %s/locked %s/locked.txt"):format(root, root)))
    local drop = lfs.attributes("/proc/self", "uid") == 0
    local wrap = drop and { "setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all" }
    local other <close> = server.start({ script = SCRIPT, env = { SPEC_DIR = dir }, wrap = wrap or nil })
    for _, path in ipairs({ "locked/x", "locked.txt", "locked/" }) do
      assert.equal(403, raw.get(other.port, "/list/" .. path).status, path)
    end
    assert(os.execute(("chmod 700 %s/locked"):format(root)))
    server.remove_folder(root .. "/locked")
    os.remove(root .. "/locked.txt")
  end)

  describe("of a folder", function()
    it("is redirected to its path with a slash, the query kept", function()
      for path, location in pairs({ ["sub"] = "/files/sub/", ["sub?a=b&c"] = "/files/sub/?a=b&c", ["sub/deep"] = "/files/sub/deep/",
        ["%3Ci%3E&%22"] = "/files/%3Ci%3E&%22/", ["way"] = "/files/way/" }) do
        local response = ask("/files/" .. path)
        assert.same({ 301, location }, { response.status, header(response, "location") }, path)
      end
      assert.equal("/files/", header(ask("/files"), "location"))
    end)

    it("is its index, if it has one", function()
      local response = ask("/files/index/")
      assert.same({ 200, "<p>index" }, { response.status, response.body })
      assert.equal("text/html; charset=utf-8", header(response, "content-type"))
      assert.equal("other", ask("/cached/index/").body)
      assert.equal("other", ask("/said/index/").body)
      assert.equal("<p>index", ask("/list/index/").body)
      assert.equal(404, status("/bare/index/"))
      assert.equal(404, status("/files/sub/"))
      assert.equal(404, status("/files/"))
    end)

    it("is listed as a page, escaped, when it is to be", function()
      local response = ask("/list/")
      assert.equal("text/html; charset=utf-8", header(response, "content-type"))
      assert.equal("Accept", header(response, "vary"))
      local hrefs = {}
      for href in response.body:gmatch('href="([^"]*)"') do hrefs[#hrefs + 1] = href end
      assert.same({ "%3Ci%3E%26%22/", "empty/", "index/", "sub/", "way/", "a.txt", "a.txt.br", "a.txt.gz", "b.txt",
        "back%5Cslash", "in" }, hrefs)
      assert.is_truthy(response.body:find(">&lt;i&gt;&amp;&quot;/</a>", 1, true))
      assert.is_nil(response.body:find("<i>", 1, true))
      assert.is_truthy(ask("/list/sub/").body:find('<a href="../">', 1, true))
      assert.is_truthy(ask("/list/%3Ci%3E&%22/").body:find("<h1>/list/%3Ci%3E&amp;%22/</h1>", 1, true))
      for _, href in ipairs(hrefs) do assert.equal(200, status("/list/" .. href), href) end
      assert.is_truthy(ask("/hidden/sub/").status == 200 and ask("/list/empty/").status == 200)
    end)

    it("is listed as JSON for who would rather have that", function()
      local function list(fields) return ask("/list/sub/", fields) end
      local response = list("Accept: application/json\n")
      assert.equal("application/json", header(response, "content-type"))
      local found = cjson.decode(response.body)
      assert.equal(2, #found)
      assert.same({ "deep", "folder" }, { found[1].name, found[1].type })
      assert.same({ "c d%&.txt", "file", 7 }, { found[2].name, found[2].type, found[2].size })
      assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$", found[2].modified)
      assert.equal("[]", ask("/list/empty/", "Accept: application/*\n").body)
      for _, accept in ipairs({ "*/*", "text/html, application/json", "application/json;q=0.5, text/*", "text/html" }) do
        assert.equal("text/html; charset=utf-8", header(list("Accept: " .. accept .. "\n"), "content-type"), accept)
      end
      assert.equal("application/json", header(list("Accept: text/html;q=0.1, application/json;q=0.2\n"), "content-type"))
    end)

    it("may have names that are no text", function()
      server.write(root .. "/empty/\xff&.txt", "x")
      local response = ask("/list/empty/")
      assert.is_truthy(response.body:find('<a href="%FF%26.txt">\u{FFFD}&amp;.txt</a>', 1, true))
      assert.equal("x", ask("/list/empty/%FF%26.txt").body)
      assert.equal("\u{FFFD}&.txt", cjson.decode(ask("/list/empty/", "Accept: application/json\n").body)[1].name)
      os.remove(root .. "/empty/\xff&.txt")
    end)
  end)

  describe("of what is compressed already", function()
    local function coding(accept, path)
      local response = ask("/pre/" .. (path or "a.txt"), accept and "Accept-Encoding: " .. accept .. "\n")
      assert.equal("Accept-Encoding", header(response, "vary"))
      assert.equal("text/plain; charset=utf-8", header(response, "content-type"))
      return header(response, "content-encoding"), response.body
    end

    it("sends the sibling that the client takes", function()
      assert.same({ "gzip", "gzip a" }, { coding("gzip") })
      assert.same({ "br", "br a" }, { coding("gzip, br") })
      assert.same({ "gzip", "gzip a" }, { coding("gzip, br;q=0.5") })
      assert.same({ "br", "br a" }, { coding("*") })
      assert.same({ "gzip", "gzip a" }, { coding("zstd, GZIP;q=0.1") })
      for _, accept in ipairs({ "identity", "gzip;q=0", "deflate", "" }) do
        assert.same({ nil, "plain a" }, { coding(accept) }, accept)
      end
      assert.same({ nil, "plain a" }, { coding() })
      assert.same({ nil, "plain b" }, { coding("gzip, br, zstd", "b.txt") })
      assert.is_nil(header(ask("/files/a.txt", "Accept-Encoding: gzip\n"), "content-encoding"))
      assert.is_nil(header(ask("/files/a.txt"), "vary"))
    end)

    it("has validators and ranges of its own", function()
      local plain, gzip = ask("/pre/a.txt"), ask("/pre/a.txt", "Accept-Encoding: gzip\n")
      assert.not_equal(header(plain, "etag"), header(gzip, "etag"))
      local same = ask("/pre/a.txt", "Accept-Encoding: gzip\nIf-None-Match: " .. header(gzip, "etag") .. "\n")
      assert.same({ 304, "Accept-Encoding" }, { same.status, header(same, "vary") })
      assert.equal("gz", ask("/pre/a.txt", "Accept-Encoding: gzip\nRange: bytes=0-1\n").body)
      local none = ask("/norange/a.txt", "Accept-Encoding: gzip\nRange: bytes=100-\n")
      assert.equal(416, none.status)
      assert.is_nil(header(none, "content-encoding"))
      assert.is_nil(header(none, "cache-control"))
    end)

    it("is what curl unpacks", function()
      assert(os.execute(("printf 'plain b' | gzip -c > %s/b.txt.gz"):format(root)))
      local result = curl.run({ "--compressed", "-H", "Accept-Encoding: gzip", s.url .. "/pre/b.txt" })
      assert.equal("plain b", result.stdout)
      os.remove(root .. "/b.txt.gz")
    end)
  end)

  it("sets what it was told to", function()
    assert.equal("public, max-age=3600", header(ask("/cached/a.txt"), "cache-control"))
    assert.equal("no-store", header(ask("/said/a.txt"), "cache-control"))
    assert.is_nil(header(ask("/files/a.txt"), "cache-control"))
    local bare = ask("/bare/a.txt", "Range: bytes=0-1\n")
    assert.same({ 200, nil, nil, 'attachment; filename="a.txt"' }, { bare.status, header(bare, "etag"),
      header(bare, "accept-ranges"), header(bare, "content-disposition") })
  end)

  it("says at load what is wrong with its options", function()
    for query, why in pairs({ [""] = "root is the path", ["?root=x&option=colour"] = "no option colour",
      ["?root=x&option=hidden"] = "hidden is a number", ["?root="] = "root is the path" }) do
      assert.matches("^false .*" .. why, ask("/bad" .. query).body)
    end
  end)

  it("leaves nothing open (B24)", function()
    local function round()
      for _, path in ipairs({ "/list/", "/list/sub/", "/files/a.txt", "/files/out", "/files/sub", "/files/nope", "/pre/a.txt" }) do
        ask(path, "Accept-Encoding: gzip\n")
      end
    end
    round()
    local before = s:fds()
    for _ = 1, 5 do round() end
    server.eventually(function() return s:fds() <= before end)
  end)
end)
