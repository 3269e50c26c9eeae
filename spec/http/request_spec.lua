-- What a script does to a request: headers of its own, and a body that is read more than once.
local cjson = require("cjson")
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")
local function here(request, path) return "http://127.0.0.1:" .. request.port .. path end

local function seen(request)
  local all = {}
  for name, value in pairs(request.headers) do all[name] = value end
  return { user = request.headers["x-user"] or "none", shouted = request.headers["X-USER"] or "none", all = all }
end

local function twice(first, second)
  return function(request)
    first(request)
    return second(request)
  end
end
local function all(request) return { body = request.body:all() } end
local function chunks(request) for _ in request.body:chunks() do end end
local function one(request) request.body:read() end
local function send(request)
  return assert(tg.fetch(here(request, "/length"), { method = "POST", body = request.body }))
end
local catch = tg.on_error({ handle = function(_, err) return { status = 500, body = err.message } end })

return { interceptors = { catch }, routes = {
  { "/bytes/*rest", get = function(request) return { body = request.path_params.rest .. "|" .. request.path } end },
  { "/set", get = function(request)
    request.headers["X-User"] = "ours"
    request.headers["X-uSER"] = "ours again"
    return { body = seen(request) }
  end },
  { "/looked-at-before", get = function(request)
    local _ = request.headers["x-user"], request.headers["X-USER"]
    request.headers["X-User"] = 7
    return { body = seen(request) }
  end },
  { "/taken", get = function(request)
    request.headers["X-User"] = nil
    return { body = seen(request) }
  end },
  { "/passed-on/seen", get = { { name = "auth", enter = function(ctx)
    ctx.request.headers["x-user"] = "first"
    ctx.request.headers["X-User"] = "ours"
  end }, tg.proxy(function(request) return here(request, "") end, { strip = "/passed-on" }) } },
  { "/shape/*rest", any = function(request)
    return { body = { request.query, request.query_list, request.path_params, request.form_params or 0 } }
  end, interceptors = { tg.body_params() } },
  { "/plain-shape", get = function(request) return { body = { request.query, request.path_params } } end },
  { "/seen", get = function(request) return { body = seen(request) } end },
  { "/length", any = function(request) return { body = #request.body:all() .. " bytes" } end },
  { "/all-all", post = twice(all, all) },
  { "/chunks-all", post = twice(chunks, all) },
  { "/all-echo", post = twice(all, function(request) return { body = request.body } end) },
  { "/all-fetch", post = twice(all, send) },
  { "/fetch-fetch", post = twice(function(request) send(request).body:all() end, send) },
  { "/one-all", post = twice(one, all) },
  { "/one-echo", post = twice(one, function(request) return { body = request.body } end) },
  { "/params-twice", interceptors = { tg.body_params() }, post = { tg.body_params(),
    function(request) return { body = request.body_params } end } },
} }
]]

describe("a request", function()
  local s

  setup(function() s = server.start({ script = SCRIPT }) end)
  teardown(function() s:stop() end)

  local function get(path)
    return cjson.decode(raw.request(s.port, ("GET %s HTTP/1.1\r\nHost: x\r\nX-User: theirs\r\n\r\n"):format(path)).body)
  end

  local function post(path, body, type)
    return raw.request(s.port, ("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"):format(
      path, type or "text/plain", #body, body))
  end

  it("has maps that print as objects, empty ones too (B17)", function()
    assert.equal("[{},{}]", raw.get(s.port, "/plain-shape").body)
    assert.equal('[{"a":"1"},{"a":["1","2"]},{"rest":"x"},{"b":"3"}]',
      post("/shape/x?a=1&a=2", "b=3", "application/x-www-form-urlencoded").body)
  end)

  describe("whose headers a script sets", function()
    it("has what was set in place of what the client sent, in any case", function()
      assert.same({ "ours again", "ours again", "ours again" },
        (function(r) return { r.user, r.shouted, r.all["x-user"] } end)(get("/set")))
    end)

    it("has it when the client's was looked at before, as a string", function()
      local seen = get("/looked-at-before")
      assert.same({ "7", "7", "7" }, { seen.user, seen.shouted, seen.all["x-user"] })
    end)

    it("has none of what was taken away", function()
      local seen = get("/taken")
      assert.same({ "none", "none" }, { seen.user, seen.shouted })
      assert.is_nil(seen.all["x-user"])
      assert.equal("x", seen.all.host)
    end)

    it("passes a header that was set twice on once, with its last value (B75)", function()
      assert.equal("ours", get("/passed-on/seen").user)
    end)
  end)

  it("may have a NUL in a parameter, which is a byte like another (B51)", function()
    local response = raw.get(s.port, "/bytes/x%00y")
    assert.same({ 200, "x\0y|/bytes/x%00y" }, { response.status, response.body })
  end)

  describe("whose body a script reads to its end", function()
    for _, path in ipairs({ "/all-all", "/chunks-all", "/all-echo", "/all-fetch", "/fetch-fetch" }) do
      it("raises rather than give an empty one again: " .. path, function()
        local response = post(path, "some bytes")
        assert.equal(500, response.status)
        assert.matches("the request's body was read to its end before, and is not kept", response.body, 1, true)
      end)

      it("is empty as often as one likes when the client sent none: " .. path, function()
        assert.equal(200, post(path, "").status)
      end)
    end

    it("gives what follows a chunk that was read", function()
      assert.equal("", post("/one-all", "some bytes").body)
      assert.equal("", post("/one-echo", "some bytes").body)
    end)

    it("reads parameters once, however often it is asked to", function()
      assert.same({ a = 1 }, cjson.decode(post("/params-twice", '{"a":1}', "application/json").body))
    end)
  end)
end)
