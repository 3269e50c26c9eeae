-- routes_spec.lua - paths from route names, and that they lead back to their routes.

local probe = require("probe_router")
local routes = require("tidegate.routes")
local service = require("tidegate.service")

local function f() end

local function description_of(...)
  local description, problems = service.check({ routes = { ... } })
  assert.same(nil, problems)
  return description
end

describe("url_for", function()
  local description = description_of(
    { "/", get = f, name = "root" },
    { "/api", { "/users/:id", get = f, put = f, name = "user", constraints = { id = "%d+" } } },
    { "/files/*path", get = f, name = "file" },
    { "/café/@me/a:b", get = f, name = "literal" },
    { "/:a/x/:b/", get = f, name = "two" }
  )

  local function url(...)
    return routes.url_for(description, ...)
  end

  it("fills in params, and joins nested paths (B55)", function()
    assert.equal("/", url("root"))
    assert.equal("/api/users/42", url("user", { id = "42" }))
    assert.equal("/1/x/2/", url("two", { a = "1", b = "2" }))
  end)

  it("writes numbers as they are read, whole ones without a fraction", function()
    assert.equal("/api/users/42", url("user", { id = 42 }))
    assert.equal("/api/users/42", url("user", { id = 42.0 }))
    assert.equal("/1.5/x/-7/", url("two", { a = 1.5, b = -7 }))
  end)

  it("percent-encodes params, and keeps the slashes of splats (B55)", function()
    assert.equal("/a%2Fb/x/%25%3F%23%20%C3%A9%2B/", url("two", { a = "a/b", b = "%?# é+" }))
    assert.equal("/files/a/b%20c//d%3F", url("file", { path = "a/b c//d?" }))
  end)

  it("percent-encodes literals where they need it", function()
    assert.equal("/caf%C3%A9/@me/a:b", url("literal"))
  end)

  it("puts what is left over in the query, by name", function()
    assert.equal("/api/users/1?a=x%20y&b=%26%3D&c=", url("user", { b = "&=", c = "", id = 1,
      a = "x y" }))
    assert.equal("/?a=1&b=1&c=1&d=1&e=1&f=1&g=1", url("root", { g = 1, f = 1, e = 1, d = 1, c = 1,
      b = 1, a = 1 }))
    assert.equal("/?n=1.5&%C3%A9%20=true", url("root", { ["é "] = true, n = 1.5 }))
  end)

  it("repeats a name in the query for each item of a list", function()
    assert.equal("/?a=2&a=1&a=false&z=1", url("root", { a = { "2", 1, false }, b = {}, z = 1 }))
  end)

  it("raises for an unknown name", function()
    assert.error_matches(function() url("nobody") end, 'no route is called "nobody"')
    assert.error_matches(function() url(nil) end, 'no route is called "nil"')
  end)

  it("raises for a param that is missing, empty, of another type or with a NUL", function()
    assert.error_matches(function() url("user") end, 'route "user" needs the param "id"')
    assert.error_matches(function() url("two", { a = 1 }) end, 'needs the param "b"')
    assert.error_matches(function() url("file", { path = "" }) end, 'param "path" is empty')
    assert.error_matches(function() url("file", { path = "a\0" }) end, 'param "path" holds a NUL')
    assert.error_matches(function() url("file", { path = {} }) end,
      'param "path": expected a string or a number, got a table')
    assert.error_matches(function() url("root", "x") end, "expected a table of params, got a s")
  end)

  it("raises for a param that its constraint would turn away (B55)", function()
    assert.error_matches(function() url("user", { id = "4x" }) end,
      'param "id": "4x" does not match "%^%%d%+%$"')
    assert.error_matches(function() url("user", { id = 4.5 }) end, "does not match")
  end)

  it("raises for what a query cannot hold", function()
    assert.error_matches(function() url("root", { a = f }) end, '"a": expected .*, got a function')
    assert.error_matches(function() url("root", { a = { {} } }) end, '"a": .*, got a table')
    assert.error_matches(function() url("root", { "x" }) end, "the name of a param is a string")
  end)

  it("blames its caller's line", function()
    local _, message = pcall(function() routes.url_for(description, "nobody") end)
    assert.matches("routes_spec.lua:%d+: url_for: ", message)
  end)

  it("reads a description anew for each one", function()
    local other = description_of({ "/other", get = f, name = "root" })
    assert.equal("/other", routes.url_for(other, "root"))
    assert.equal("/", url("root"))
  end)
end)

--- A router with a description's routes; the nth is route n.  Constraint 1 of the probe is digits.
local function router_of(description)
  local router = probe.new()
  for n, route in ipairs(description.routes) do
    local spec = { method = route.method, host = route.host, path = route.path, route = n }
    for _, constraint in ipairs(route.constraints) do
      assert.equal("^%d+$", constraint.pattern)
      spec[#spec + 1] = constraint.param
      spec[#spec + 1] = 1
    end
    assert.equal("ok", (router:add(spec)), route.path)
  end
  return router
end

describe("url_for and the router", function()
  local description = description_of(
    { "/", get = f, name = "root" },
    { "/users", get = f, name = "users",
      { "/", get = f, name = "users/" },
      { "/:id", any = f, name = "user", constraints = { id = "%d+" },
        { "/posts/:post", get = f, name = "post", { "/*rest", get = f, name = "rest" } } } },
    { "/é ü/100%/%41/a+b", get = f, name = "odd" },
    { "/s//:x/", get = f, name = "empty" },
    { "/h/:x", get = f, host = "*.a.test", name = "host" },
    { "/v/*path", ["PROPFIND"] = f, name = "dav" }
  )
  local router = router_of(description)

  local function random_text()
    local bytes = {}
    for n = 1, math.random(8) do
      bytes[n] = string.char(math.random(255))
    end
    return table.concat(bytes)
  end

  it("agree on every route, whatever its params hold (B55)", function()
    math.randomseed(3)
    for n, route in ipairs(description.routes) do
      for _ = 1, 300 do
        local params = { id = math.random(10 ^ 6) }
        for _, name in ipairs({ "post", "rest", "x", "path" }) do
          params[name] = random_text()
        end
        local path = routes.url_for(description, route.name, params):match("^[^?]*")
        local method = route.method == "" and "PATCH" or route.method
        local kind, found, values = router:match(method, path, "b.a.test")
        assert.same({ "found", n }, { kind, found }, route.name .. " " .. path)
        for _, pair in ipairs(values) do
          local name, value = pair:match("^(.-)=(.*)$")
          assert.equal(tostring(params[name]), probe.decode(value))
        end
      end
    end
  end)

  it("agree on the query too", function()
    math.randomseed(5)
    for _ = 1, 300 do
      local name, value = random_text(), random_text()
      local query = routes.url_for(description, "root", { [name] = { value, 7 } }):match("?(.*)$")
      local pairs_found = probe.query(query)
      assert.equal(2, #pairs_found)
      assert.same({ name, value },
        { probe.decode(pairs_found[1][1], true), probe.decode(pairs_found[1][2], true) })
      assert.equal("7", pairs_found[2][2])
    end
  end)
end)

describe("a service table that is accepted", function()
  it("is accepted by the router too: paths, hosts and methods (B54)", function()
    math.randomseed(13)
    local pieces = { "/", "a", ":", "*", ":b", "*c", ".", "%", "é", "-", "/:d", "/*e" }
    local accepted = 0
    for _ = 1, 5000 do
      local out = {}
      for n = 1, math.random(6) do
        out[n] = pieces[math.random(#pieces)]
      end
      local text = table.concat(out)
      local description = service.check({ routes = { { text, get = f } } })
      local status = probe.new():add({ method = "GET", path = text })
      assert(status == (description and "ok" or "invalid argument"), text)
      local host = text:gsub("/", "")
      description = host ~= "" and service.check({ routes = { { "/", host = host, get = f } } })
      status = probe.new():add({ method = "GET", host = host, path = "/" })
      assert(status == ((description or host == "") and "ok" or "invalid argument"), host)
      accepted = accepted + (description and 1 or 0)
    end
    assert.truthy(accepted > 300)
  end)
end)
