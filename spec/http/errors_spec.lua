-- The page that --dev shows, and what production does not; tg.error and tg.on_error.
local curl = require("curl")
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")
local lib = require("lib")

local function fails(what) -- a comment with <angle> & "quotes"
  error("failed with <b>" .. what .. "</b> & more", 0)
end

local function conflict() tg.error(409, "taken", { field = "name", detail = { code = 7 } }) end

local function answer(status) return function(_, err) return { status = status, body = err.message } end end

return {
  routes = {
    { "/text", name = "text", get = function() fails("text") end },
    { "/deep", get = function() lib.outer(function() fails("deep") end) end },
    { "/table", get = function()
      error({ message = "a table", code = 42, nested = { "x", deeper = { deepest = { far = 1 } } },
        self = setmetatable({}, { __tostring = function() error("no") end }) })
    end },
    { "/enter", get = { { name = "guard", enter = function() error("no entry") end }, function() end } },
    { "/error", get = { { name = "outer", error = function() error("second") end },
      function() error("first") end } },
    { "/nothing", get = function() end },
    { "/status", get = function() tg.error(422, "short and stout") end },
    { "/late", get = function() return { body = function(out) out:write("x") out:flush() error("late") end } end },
    { "/bad-page", get = function() error(setmetatable({}, { __index = function() error("hostile") end })) end },
    { "/long", get = function() error(("long "):rep(50000)) end },
    { "/place", get = function() coroutine.wrap(function() fails("place") end)() end },
    { "/wrapped", get = function()
      coroutine.wrap(function()
        local x = nil + 1
        return x
      end)()
    end },
    { "/bytes", get = function() error("a\0b\27[31m\r\ncut \xff\xe2\x82 \xe2\x82\xac\nnext", 0) end },
    { "/elsewhere", get = function() load("\n\nerror('not shown')", "@/etc/passwd")() end },
    { "/altered", get = { { name = "alters", error = function(_, err)
      err.message = setmetatable({}, { __tostring = function() error("hostile") end })
      error(err, 0)
    end }, function() error("the original", 0) end } },
    { "/chain", get = { { name = "c", error = function() error("<third>") end },
      { name = "b", error = function() error("second") end }, function() error("first") end } },
    { "/cyclic", get = { { name = "a", error = function(_, err) err.suppressed[1] = err error(err, 0) end },
      function() error("around and around", 0) end } },
    { "/big", get = function()
      local big = {}
      for i = 1, 1000 do big[i] = ("<&>"):rep(100) big["k" .. i] = { { { 1 } } } end
      error(big)
    end },
    { "/secret", get = function() error("secret!") end },

    { "/on/fields", get = { tg.on_error({ match = { status = 409, field = "name", detail = { code = 7 } },
        handle = answer(299) }), conflict } },
    { "/on/other", get = { tg.on_error({ match = { status = 409, field = "other" }, handle = answer(299) }), conflict } },
    { "/on/function", get = { tg.on_error({ match = function(err) return err.message:find("taken") end,
        handle = answer(298) }), conflict } },
    { "/on/list", get = { tg.on_error({ match = { { status = 404 }, { stage = "enter" } },
        handle = answer(297) }), conflict } },
    { "/on/all", get = { tg.on_error({ handle = function(ctx, err)
        tg.sleep(0.001)
        ctx.response = { status = 296, body = err.stage .. " " .. err.interceptor .. " " .. #err.suppressed }
      end }), conflict } },
    { "/on/raises", get = { tg.on_error({ handle = function(_, err) return { status = 295, body = err.message .. "<" ..
        err.suppressed[1].message } end }), tg.on_error({ handle = function() error("worse", 0) end }), conflict } },
    { "/on/declined", get = { tg.on_error({ handle = function(_, err) return { status = 294, body = tostring(#err.suppressed) } end }),
      tg.on_error({ match = { status = 1 }, handle = answer(500) }), conflict } },
    { "/on/body", get = { tg.on_error({ match = { stage = "body" }, handle = answer(293) }),
      function() return { body = function() error("in the body", 0) end } end } },
  },
}
]]

local LIB = [[
local lib = {}
function lib.outer(f)
  local marker = "a line of the module"
  f()
  return marker
end
return lib
]]

local BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

describe("--dev", function()
  local s

  setup(function()
    s = server.start({ script = SCRIPT, files = { ["lib.lua"] = LIB }, args = { "--dev" } })
  end)
  teardown(function() s:stop() end)

  local function get(path, accept, header)
    local text = ("GET %s HTTP/1.1\r\nHost: x\r\n%s%s\r\n"):format(path,
      accept and "Accept: " .. accept .. "\r\n" or "", header or "")
    return raw.request(s.port, text)
  end

  it("shows a browser a page with the message, the place and the lines around it", function()
    local page = get("/text", BROWSER)
    assert.equal(500, page.status)
    assert.equal("text/html; charset=utf-8", page.headers["content-type"][1])
    assert.equal("no-store", page.headers["cache-control"][1])
    assert.matches("^<!doctype html>", page.body)
    assert.matches("failed with &lt;b&gt;text&lt;/b&gt; &amp; more", page.body, 1, true)
    assert.is_nil(page.body:find("<b>text", 1, true))
    assert.matches('<span class="at">   5    error(&quot;failed with &lt;b&gt;', page.body, 1, true)
    assert.matches("comment with &lt;angle&gt; &amp; &quot;quotes&quot;", page.body, 1, true)
    for _, fact in ipairs({ "<th>stage</th><td><code>enter<", "<th>route</th><td><code>text<",
      "GET /text HTTP/1.1" }) do
      assert.matches(fact, page.body, 1, true)
    end
    assert.is_nil(page.body:find("https?://"), "it works without any other resource")
  end)

  it("shows curl the same as text, and JSON to whoever asks for that", function()
    local text = curl.run({ s.url .. "/text" }).stdout
    assert.matches("^500 Internal Server Error\n\nfailed with <b>text</b> & more\n", text)
    assert.matches("\n>    5    error%(", text)
    local json = get("/text", "application/json")
    assert.equal("application/json", json.headers["content-type"][1])
    local decoded = require("cjson").decode(json.body)
    assert.same({ 500, "failed with <b>text</b> & more", "enter" }, { decoded.status, decoded.message, decoded.stage })
    assert.equal("text/plain; charset=utf-8", get("/text", "text/html;q=0.1, */*").headers["content-type"][1])
  end)

  it("shows the lines of modules, and none of the gateway's own", function()
    local page = get("/deep", BROWSER).body
    assert.matches("a line of the module", page, 1, true)
    assert.is_nil(page:find("error_page", 1, true))
  end)

  it("shows what a table that was raised holds, and calls none of its metamethods", function()
    local text = get("/table").body
    assert.matches("a table", text)
    assert.matches("  code: 42\n", text)
    assert.matches("    1: \"x\"\n", text)
    assert.matches("      deepest: { … }", text, 1, true)
    assert.equal(500, get("/bad-page").status)
    assert.matches("a table was raised", get("/bad-page").body)
  end)

  it("shows the interceptor, the stage and what came before", function()
    assert.matches("interceptor: +guard\n", get("/enter").body)
    local text = get("/error").body
    assert.matches("second", text)
    assert.matches("\nbefore it, in enter of GET /error: .*first\n.*\n>   %d+        function%(%) error%(\"first\"%)", text)
    assert.matches("no response", get("/nothing").body)
  end)

  it("shows all errors of a chain, the last first, and not for ever", function()
    local page = get("/chain", BROWSER).body
    assert.matches("&lt;third&gt;.*Before it, in error of b<.*second.*Before it, in enter of GET /chain<.*first", page)
    assert.is_nil(page:find("<third>", 1, true))
    assert.matches("around and around", get("/cyclic", BROWSER).body)
    local decoded = require("cjson").decode(get("/chain", "application/json").body)
    assert.equal(2, #decoded.suppressed)
    assert.matches("first$", decoded.suppressed[2])
  end)

  it("shows the lines that the message speaks of, where the traceback does not", function()
    assert.matches("app.lua:%d+: in the message\n.*\n>   %d+ .*local x = nil %+ 1", get("/wrapped").body)
    assert.matches("failed with <b>place</b>", get("/place").body)
  end)

  it("shows bytes that are no text as what they are, and lets no terminal obey them", function()
    local text = get("/bytes").body
    assert.matches("\na\\x00b\\x1b[31m\ncut \\xff\\xe2\\x82 €\nnext\n", text, 1, true)
    assert.equal("a\\x00b\\x1b[31m\ncut \\xff\\xe2\\x82 €\nnext",
      require("cjson").decode(get("/bytes", "application/json").body).message)
    assert.truthy(utf8.len(get("/bytes", BROWSER).body))
  end)

  it("reads no file but those of the script", function()
    local text = get("/elsewhere").body
    assert.matches("/etc/passwd:3: in main chunk", text, 1, true)
    assert.is_nil(text:find("root:", 1, true))
  end)

  it("falls back to the plain text where the page cannot be made", function()
    local answer = get("/altered", BROWSER)
    assert.same({ 500, "text/plain; charset=utf-8" }, { answer.status, answer.headers["content-type"][1] })
    assert.matches("^500 Internal Server Error\n\nthe original\n", answer.body)
    s:wait_log("the page of an error: ")
  end)

  it("shows a large value in part", function()
    local page = get("/big", BROWSER)
    assert.is_true(#page.body < 65536)
    assert.matches("1: &quot;&lt;&amp;", page.body, 1, true)
    assert.matches("…", page.body)
  end)

  it("keeps the status of the error", function()
    local answer = get("/status")
    assert.equal(422, answer.status)
    assert.matches("^422 .*\n\nshort and stout\n", answer.body)
  end)

  it("does not show what a client proves itself with", function()
    local page = get("/secret", BROWSER, "Authorization: Bearer hush-hush\r\nCookie: sid=hush-hush\r\nX-Trace: t1\r\n").body
    assert.is_nil(page:find("hush-hush", 1, true))
    assert.matches("<th>authorization</th><td><code>(not shown)<", page, 1, true)
    assert.matches("<th>x-trace</th><td><code>t1<", page, 1, true)
  end)

  it("keeps the page small, however long the message is", function()
    local page = get("/long", BROWSER)
    assert.equal(500, page.status)
    assert.is_true(#page.body < 65536)
    assert.matches("^<!doctype html>", page.body)
  end)

  it("adds nothing to a response that has begun (B33)", function()
    assert.equal(18, curl.run({ "-o", "/dev/null", s.url .. "/late" }).exit)
  end)
end)

describe("without --dev", function()
  local s

  setup(function() s = server.start({ script = SCRIPT, files = { ["lib.lua"] = LIB } }) end)
  teardown(function() s:stop() end)

  local function get(path) return raw.request(s.port,
    ("GET %s HTTP/1.1\r\nHost: x\r\nAccept: %s\r\n\r\n"):format(path, BROWSER)) end

  it("nothing of an error is on the wire (B7)", function()
    for _, path in ipairs({ "/text", "/deep", "/table", "/enter", "/error", "/nothing", "/bad-page", "/secret" }) do
      local answer = get(path)
      assert.same({ 500, "Internal Server Error\n" }, { answer.status, answer.body })
    end
    assert.same({ 422, "Unprocessable Content\n" }, { get("/status").status, get("/status").body })
  end)

  describe("tg.on_error", function()
    for path, expected in pairs({
      ["/on/fields"] = { 299, "taken" },
      ["/on/other"] = { 409, "Conflict\n" },
      ["/on/function"] = { 298, "taken" },
      ["/on/list"] = { 297, "taken" },
      ["/on/all"] = { 296, "enter GET /on/all 0" },
      ["/on/raises"] = { 295, "worse<taken" },
      ["/on/declined"] = { 294, "0" },
      ["/on/body"] = { 293, "in the body" },
    }) do
      it(("answers %s with %d (B6)"):format(path, expected[1]), function()
        local answer = get(path)
        assert.same(expected, { answer.status, answer.body })
      end)
    end

    it("refuses options that are none when the script loads", function()
      for code, message in pairs({
        ["tg.on_error()"] = "expected { match",
        ["tg.on_error({ match = {} })"] = "expected { match",
        ["tg.on_error({ match = 1, handle = print })"] = "match: expected a function or a table",
        ["tg.on_error({ match = { {}, 2 }, handle = print })"] = "match[2]: expected a function or a table",
        ["tg.error(200)"] = "status: expected an integer in 400..599",
      }) do
        server.write(s.dir .. "/bad.lua", 'local tg = require("tidegate") ' .. code .. " return { routes = {} }")
        local result = server.command({ "check", s.dir .. "/bad.lua" })
        assert.equal(1, result.exit)
        assert.matches(message, result.stderr, 1, true)
      end
    end)
  end)
end)
