-- service_spec.lua - the service table: what is wrong with it, and what it comes to.

local service = require("tidegate.service")

local function f() end
local function g() end

local LIMITS = { limits = { "head_bytes", "high_water", "low_water" } }

local function problems_of(value)
  local description, problems = service.check(value, LIMITS)
  assert.is_nil(description)
  return problems
end

local function description_of(value)
  local description, problems = service.check(value, LIMITS)
  assert.same(nil, problems)
  return description
end

--- The only problem of a service.
local function problem_of(value)
  local problems = problems_of(value)
  assert.equal(1, #problems, table.concat(problems, "\n"))
  return problems[1]
end

--- The only problem of a service with this one route.
local function route_problem(route)
  return problem_of({ routes = { route } })
end

local function routes_of(...)
  return description_of({ routes = { ... } }).routes
end

describe("a service table", function()
  describe("as data", function()
    it("may be empty", function()
      assert.same({ interceptors = {}, routes = {} }, description_of({}))
    end)

    it("keeps its settings, listen as a list", function()
      local d = description_of({
        listen = "127.0.0.1:0", workers = 2.0, limits = { head_bytes = 1.5 },
        tls = { cert = "c.pem", key = "k.pem" }, log = "json", not_found = f, check = f,
        on_start = f, on_stop = g,
      })
      assert.same({
        listen = { "127.0.0.1:0" }, workers = 2, limits = { head_bytes = 1.5 },
        tls = { { cert = "c.pem", key = "k.pem" } }, not_found = f, check = f,
        log = { format = "json", headers = {} }, on_start = f, on_stop = g, interceptors = {}, routes = {},
      }, d)
      assert.equal("integer", math.type(d.workers))
    end)

    it("has a route for each method, in the order of their names", function()
      local routes = routes_of({ "/a", put = g, get = f, any = f, ["PROPFIND"] = g, name = "n" })
      local seen = {}
      for n, route in ipairs(routes) do
        assert.same({ "/a", "", "n", {}, "routes[1]" },
          { route.path, route.host, route.name, route.constraints, route.source })
        seen[n] = route.method
      end
      assert.same({ "PROPFIND", "", "GET", "PUT" }, seen)
    end)

    it("knows the methods, each by its lower-case key", function()
      local keys = { "get", "head", "post", "put", "patch", "delete", "options", "trace" }
      for _, key in ipairs(keys) do
        assert.equal(key:upper(), routes_of({ "/a", [key] = f })[1].method)
      end
    end)

    it("joins the paths of nested routes and says where each comes from", function()
      local routes = routes_of(
        { "/", get = f, { "/deep", get = f } },
        { "/api", { "/", get = f }, { "/users/", { "/:id", get = f, { "/x", get = f } } } },
        { "/api/", get = g, host = "a.test" }
      )
      local paths = {}
      for _, route in ipairs(routes) do
        paths[#paths + 1] = route.source .. " " .. route.path
      end
      assert.same({
        "routes[1] /", "routes[1][1] /deep", "routes[2][1] /api/", "routes[2][2][1] /api/users/:id",
        "routes[2][2][1][1] /api/users/:id/x", "routes[3] /api/",
      }, paths)
    end)

    it("hands hosts and constraints down to nested routes that have none (B55)", function()
      local routes = routes_of({
        "/a/:id", host = "A.test", constraints = { id = "%d+", sub = "^x$" },
        { "/b/:sub", get = f },
        { "/c", get = f, host = "*.b.test", constraints = { id = "[a-z]+" } },
      })
      assert.same({ "a.test", "*.b.test" }, { routes[1].host, routes[2].host })
      assert.same({
        { param = "id", pattern = "^%d+$" }, { param = "sub", pattern = "^x$" },
      }, routes[1].constraints)
      assert.same({ { param = "id", pattern = "^[a-z]+$" } }, routes[2].constraints)
    end)

    it("keeps a parent's constraint that every nested route replaces", function()
      local routes = routes_of({
        "/a", constraints = { id = "%d" }, { "/:id", get = f, constraints = { id = "%a" } },
      })
      assert.same({ { param = "id", pattern = "^%a$" } }, routes[1].constraints)
    end)

    it("reads a list in its order, however its table is laid out", function()
      local list = {
        [3] = { "/3", get = f }, [2] = { "/2", get = f }, [1] = { "/1", get = f },
      }
      for n, route in ipairs(description_of({ routes = list }).routes) do
        assert.equal("/" .. n, route.path)
      end
    end)

    it("gives every route all of its interceptors in order", function()
      local a, b, c, d = { name = "a" }, { name = "b" }, { name = "c" }, { name = "d", leave = f }
      local description = description_of({
        interceptors = { a },
        routes = { { "/x", interceptors = { b }, { "/y", interceptors = { c }, get = { d, g } } } },
      })
      local list = description.routes[1].interceptors
      assert.equal(5, #list)
      for n, interceptor in ipairs({ a, b, c, d }) do
        assert.equal(interceptor, list[n])
      end
      assert.same({ name = "GET /x/y", handler = g }, list[5])
      assert.same({ a }, description.interceptors)
    end)

    it("calls a handler after its route, or else its method and path", function()
      local routes = routes_of({ "/a", get = f, any = { g } }, { "/b", get = f, name = "bee" })
      assert.equal("ANY /a", routes[1].interceptors[1].name)
      assert.equal("GET /a", routes[2].interceptors[1].name)
      assert.equal("bee", routes[3].interceptors[1].name)
    end)

    it("takes a function anywhere in a list for a handler", function()
      local d = description_of({ interceptors = { f }, routes = { { "/a", get = { f, g } } } })
      local list = d.routes[1].interceptors
      assert.same({ f, f, g }, { list[1].handler, list[2].handler, list[3].handler })
      assert.equal("interceptor 1 of the service", list[1].name)
    end)

    it("names an interceptor without a name in a copy, the same one everywhere", function()
      local nameless = { enter = f, leave = g, error = f }
      local routes = routes_of(
        { "/a", interceptors = { nameless }, get = f }, { "/b", get = { nameless, f } }
      )
      local copy = routes[1].interceptors[1]
      assert.same({
        name = 'interceptor 1 of routes[1] "/a"', enter = f, leave = g, error = f,
      }, copy)
      assert.equal(copy, routes[2].interceptors[1])
      assert.is_nil(nameless.name)
    end)

    it("takes one table with a handler for a list of it", function()
      local own = { name = "own", handler = f }
      assert.equal(own, routes_of({ "/a", get = own })[1].interceptors[1])
      assert.same({ name = "GET /b", handler = f },
        routes_of({ "/b", get = { { handler = f } } })[1].interceptors[1])
    end)

    it("changes nothing of the script's", function()
      local handlers = setmetatable({ f }, { __newindex = error })
      local route = setmetatable({ "/a/:id", get = handlers, constraints = { id = "%d" } },
        { __newindex = error })
      local value = setmetatable({ routes = { route }, listen = "a:1" }, { __newindex = error })
      description_of(value)
      assert.same({ f }, handlers)
      assert.same({ id = "%d" }, route.constraints)
      assert.equal("a:1", value.listen)
    end)
  end)

  describe("has a problem with", function()
    it("a value that is no table", function()
      assert.equal("expected a service table from the script, got nothing", problem_of(nil))
      assert.equal("expected a service table from the script, got a function", problem_of(f))
      assert.equal("expected a service table from the script, got an integer", problem_of(1))
    end)

    it("an unknown key, and names the nearest known one", function()
      assert.equal('unknown key "rotues", did you mean "routes"?', problem_of({ rotues = {} }))
      assert.equal('unknown key "onstart", did you mean "on_start"?', problem_of({ onstart = f }))
      assert.equal('unknown key "Listen", did you mean "listen"?', problem_of({ Listen = "a:1" }))
      assert.equal("unknown key 1", problem_of({ {} }))
      assert.equal("unknown key true", problem_of({ [true] = 1 }))
      assert.equal('routes[1] "/a": unknown key "gett", did you mean "get"?',
        route_problem({ "/a", gett = f }))
      assert.equal('routes[1] "/a": unknown key "interceptor", did you mean "interceptors"?',
        route_problem({ "/a", interceptor = {} }))
    end)

    it("an unknown key on one line, however it is written", function()
      assert.matches('^unknown key "a\\x0A\\x00\\"b", did', problem_of({ ['a\n\0"b'] = 1 }))
      assert.truthy(#problem_of({ [("k"):rep(100000)] = 1 }) < 200)
    end)

    it("settings of another type", function()
      for key, wanted in pairs({
        routes = "a list of routes", interceptors = "a list of interceptors", limits = "a table",
        tls = "a table", listen = "a string or a list of strings", check = "a function",
        on_start = "a function", on_stop = "a function", not_found = "a function",
      }) do
        assert.equal(("%s: expected %s, got a boolean"):format(key, wanted),
          problem_of({ [key] = true }))
      end
      for log, wanted in pairs({
        [1] = "log: expected text, json, off, or a table, got an integer",
        loud = 'log: expected text, json or off, got "loud"',
      }) do
        assert.equal(wanted, problem_of({ log = log }))
      end
      for wanted, log in pairs({
        ["log: expected text, json or off, got a boolean"] = { format = true },
        ['log: unknown key "fromat", did you mean "format"?'] = { fromat = "json" },
        ["log.headers: expected a list of names, got a string"] = { headers = "host" },
        ['log.headers[2]: "a b" is no header\'s name'] = { headers = { "a", "a b" } },
        ["log.headers[1]: expected a header's name, got an integer"] = { headers = { 1 } },
        ["log.headers: 17 names, and there may be 16"] = { headers = {
          "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q",
        } },
      }) do
        assert.equal(wanted, problem_of({ log = log }))
      end
      assert.same({ format = "text", headers = { "user-agent" } },
        description_of({ log = { format = "text", headers = { "User-Agent" } } }).log)
    end)

    it("a bad number of workers", function()
      for _, workers in ipairs({ 0, -1, 1.5, 1025, math.huge, "2", 0 / 0 }) do
        assert.matches("^workers: expected an integer in 1%.%.1024, got ",
          problem_of({ workers = workers }))
      end
    end)

    it("a bad address to listen on", function()
      for _, address in ipairs({
        "", "8080", ":8080", "localhost", "localhost:", "localhost:65536", "localhost:-1", "::1:80",
        "[::1]", "[::1]:x", "[localhost]:80", "a b:80", "ftp://a:80", "https://unix:/a", "http://", "unix:", "*:80", "a:8 0",
        "unix:" .. ("a"):rep(108), "unix:/a\0b", "a:00000000000000000080", "a:1e3",
      }) do
        assert.matches("^listen: ", problem_of({ listen = address }))
        assert.matches("^listen: ", problem_of({ listen = { "a:1", address } }))
      end
      for _, list in ipairs({ {}, { 80 }, { host = "a" , "a:1" } }) do
        assert.matches("^listen", problem_of({ listen = list }))
      end
    end)

    it("no good address", function()
      local list = { "127.0.0.1:0", "a-b.test:65535", "[::1]:80", "[fe80::1%eth0]:1", "unix:/s",
        "unix:./s" }
      assert.same(list, description_of({ listen = list }).listen)
    end)

    it("a limit that there is not, or that is no number of zero or more", function()
      assert.equal('limits: unknown key "high_watter", did you mean "high_water"?',
        problem_of({ limits = { high_watter = 1 } }))
      assert.equal("limits.low_water: expected a number of zero or more, got -1",
        problem_of({ limits = { low_water = -1 } }))
      assert.matches("^limits.low_water", problem_of({ limits = { low_water = 0 / 0 } }))
      assert.matches("^limits.low_water", problem_of({ limits = { low_water = math.huge } }))
      assert.equal("limits.low_water: expected a number, got a string",
        problem_of({ limits = { low_water = "1" } }))
      assert.equal("limits: unknown key 1", problem_of({ limits = { 5 } }))
      assert.equal("limits: unknown key true", problem_of({ limits = { [true] = 5 } }))
    end)

    it("tls without its files, or with more", function()
      assert.same({
        "tls.cert: expected a file's path, got nothing",
        "tls.key: expected a file's path, got an integer",
      }, problems_of({ tls = { key = 1 } }))
      assert.equal("tls.key: expected a file's path, got a string",
        problem_of({ tls = { cert = "c", key = "" } }))
      assert.equal('tls: unknown key "ca", did you mean "cert"?',
        problem_of({ tls = { cert = "c", key = "k", ca = "x" } }))
    end)

    it("what is no list", function()
      assert.equal('routes: expected a list, found the key "/a"',
        problem_of({ routes = { ["/a"] = { get = f } } }))
      assert.equal("routes: the list has a hole at 2: what stands there is nil",
        problem_of({ routes = { { "/a", get = f }, nil, { "/b", get = f } } }))
      assert.equal("routes: unknown key 0", problem_of({ routes = { [0] = f } }))
      assert.equal("routes[1]: expected a route (a table), got a function",
        problem_of({ routes = { f } }))
      assert.equal('routes[1] "/a": the list has a hole at 2: what stands there is nil',
        route_problem({ "/a", nil, { "/b", get = f } }))
      assert.equal("routes[1][1]: expected a route (a table), got a boolean",
        route_problem({ "/a", false }))
    end)
  end)

  describe("has a problem with a route's path", function()
    it("that is missing or has no slash in front", function()
      assert.equal("routes[1]: expected a path first, got nothing", route_problem({ get = f }))
      assert.equal("routes[1]: expected a path first, got a function", route_problem({ f }))
      assert.equal('routes[1] "users": a path begins with a slash', route_problem({ "users" }))
      assert.equal('routes[1] "": a path begins with a slash', route_problem({ "", get = f }))
      assert.equal('routes[1][1] "x": a path begins with a slash',
        route_problem({ "/a", { "x", get = f } }))
    end)

    it("whose splat is not last", function()
      assert.equal('routes[1] "/f/*p/x": *p is not the path\'s last segment',
        route_problem({ "/f/*p/x", get = f }))
      assert.equal('routes[1][1] "/f/*p/x": *p is not the path\'s last segment',
        route_problem({ "/f/*p", get = f, { "/x", get = f } }))
    end)

    it("that has a param twice, or one without a name", function()
      assert.equal('routes[1] "/:a/:a": param "a" is in the path twice',
        route_problem({ "/:a/:a", get = f }))
      assert.equal('routes[1][1] "/:a/*a": param "a" is in the path twice',
        route_problem({ "/:a", { "/*a", get = f } }))
      assert.equal('routes[1] "/:": a ":" without a name', route_problem({ "/:" }))
      assert.equal('routes[1] "/*": a "*" without a name', route_problem({ "/*" }))
      assert.matches(":id%.json: a name has letters", route_problem({ "/:id.json" }))
    end)

    it("that is too long for the router, or holds a NUL", function()
      assert.matches("more than 256 segments", route_problem({ ("/x"):rep(257) }))
      assert.matches("holds a NUL", route_problem({ "/a\0" }))
      local params = {}
      for n = 1, 33 do
        params[n] = "/:p" .. n
      end
      assert.matches("more than 32 params", route_problem({ table.concat(params) }))
    end)

    it("once, and not again for every route below", function()
      assert.equal('routes[1] "/:": a ":" without a name',
        route_problem({ "/:", constraints = { a = "x" }, { "/a", { "/b", get = f } } }))
    end)
  end)

  describe("has a problem with a route's methods", function()
    it("when there are none, nor any route in it: a handler's name is misspelt", function()
      assert.equal('routes[1] "/a": no method, and no route nested in it: is its handler nil?',
        route_problem({ "/a", get = nil }))
      assert.equal('routes[1][1] "/a/b": no method, and no route nested in it: is its handler nil?',
        route_problem({ "/a", { "/b", name = "b" } }))
    end)

    it("that are no handlers", function()
      assert.equal('routes[1] "/users/:id": get: expected a function or a list of interceptors, '
        .. "got a string", route_problem({ "/users/:id", get = "show" }))
      assert.equal('routes[1] "/a": get: the list is empty', route_problem({ "/a", get = {} }))
      assert.equal('routes[1] "/a": get[2]: expected an interceptor or a function, got a boolean',
        route_problem({ "/a", get = { f, false } }))
      assert.equal('routes[1] "/a": get: the list has a hole at 2: what stands there is nil',
        route_problem({ "/a", get = { f, nil, f } }))
      assert.equal('routes[1] "/a": get: the list has a hole at 1: what stands there is nil',
        route_problem({ "/a", get = { nil, f } }))
      assert.equal('routes[1] "/a": get: expected a list, found the key "name"',
        route_problem({ "/a", get = { f, name = "x" } }))
    end)

    it("whose list does not end in a handler", function()
      local message = 'routes[1] "/a": get: the last interceptor is not a handler: '
        .. "expected a function"
      assert.equal(message, route_problem({ "/a", get = { f, { name = "x", enter = f } } }))
      assert.equal(message, route_problem({ "/a", get = { name = "x", enter = f } }))
    end)

    it("that are not supported", function()
      assert.equal('routes[1] "/a": connect is not supported', route_problem({ "/a", connect = f }))
      assert.equal('routes[1] "/a": CONNECT is not supported', route_problem({ "/a", CONNECT = f }))
      assert.equal('routes[1] "/a": unknown key "ANY", did you mean "any"?',
        route_problem({ "/a", ANY = f }))
      assert.matches("unknown key", route_problem({ "/a", Get = f }))
      assert.matches("unknown key", route_problem({ "/a", ["A B"] = f }))
      assert.matches("unknown key", route_problem({ "/a", [("A"):rep(33)] = f }))
    end)
  end)

  describe("has a problem with interceptors", function()
    it("that are none", function()
      assert.equal("interceptors[1]: expected an interceptor or a function, got a string",
        problem_of({ interceptors = { "log" } }))
      assert.equal('routes[1] "/a": interceptors[1]: expected an interceptor or a function, '
        .. "got an integer", route_problem({ "/a", interceptors = { 1 } }))
      assert.equal("interceptors[1]: an interceptor without enter, leave, error or a name",
        problem_of({ interceptors = { {} } }))
      assert.equal('interceptors: expected a list, found the key "enter"',
        problem_of({ interceptors = { enter = f } }))
    end)

    it("with unknown keys, or stages that are no functions", function()
      assert.equal('interceptors[2]: unknown key "entr", did you mean "enter"?',
        problem_of({ interceptors = { { name = "a" }, { entr = f } } }))
      assert.equal("interceptors[1]: enter: expected a function, got a string",
        problem_of({ interceptors = { { enter = "x" } } }))
      assert.equal("interceptors[1]: error: expected a function, got a boolean",
        problem_of({ interceptors = { { name = "a", error = false } } }))
      assert.equal("interceptors[1]: name: expected a string, got an integer",
        problem_of({ interceptors = { { name = 1, enter = f } } }))
      assert.equal("interceptors[1]: an interceptor has either enter or handler",
        problem_of({ interceptors = { { enter = f, handler = f } } }))
    end)

    it("once, wherever the same table stands", function()
      local bad = { enter = 1 }
      assert.equal('routes[1] "/a": get[1]: enter: expected a function, got an integer',
        problem_of({ routes = { { "/a", get = { bad, f } }, { "/b", get = f, interceptors = { bad } } } }))
    end)
  end)

  describe("has a problem with a route's", function()
    it("shape that another one has, and names both (B54)", function()
      for _, pair in ipairs({
        { "/users/:id", "/users/:name" }, { "/f/*a", "/f/*b" }, { "/a", "/a" },
      }) do
        local message = 'routes[2] "%s": get: the same shape as routes[1] "%s"'
        assert.equal(message:format(pair[2], pair[1]),
          problem_of({ routes = { { pair[1], get = f }, { pair[2], get = g } } }))
      end
      assert.equal('routes[2] "/a/b": get: the same shape as routes[1][1] "/a/b"',
        problem_of({ routes = { { "/a", { "/b", get = f } }, { "/a/b", get = f } } }))
      assert.equal('routes[1] "/a": get: the same shape as routes[1] "/a"',
        route_problem({ "/a", get = f, ["GET"] = f }))
      local constrained = {
        { "/:a", host = "x.test", constraints = { a = "%d" }, get = f },
        { "/:b", host = "X.test", constraints = { b = "^%d$" }, get = f },
      }
      assert.equal('routes[2] "/:b": get: the same shape as routes[1] "/:a"',
        problem_of({ routes = constrained }))
    end)

    it("shape only where the router cannot tell two apart", function()
      routes_of(
        { "/:a", get = f, put = f, any = f }, { "/:a", get = f, constraints = { a = "%d" } },
        { "/:a", get = f, constraints = { a = "%a" } }, { "/:a", get = f, host = "a.test" },
        { "/:a", get = f, host = "*.a.test" }, { "/:a/", get = f }, { "/*a", get = f },
        { "/a", get = f }, { "/:a/:b", get = f, constraints = { a = "x" } },
        { "/:a/:b", get = f, constraints = { b = "x" } }
      )
    end)

    it("name that another one has, and names both (B54)", function()
      assert.equal('routes[2] "/b": the name "n" is that of routes[1] "/a" too',
        problem_of({ routes = { { "/a", get = f, name = "n" }, { "/b", get = f, name = "n" } } }))
      assert.equal('routes[1] "/a": name: expected a string, got an integer',
        route_problem({ "/a", name = 1 }))
      assert.equal('routes[1] "/a": name: it is empty', route_problem({ "/a", name = "" }))
    end)

    it("constraints", function()
      assert.equal('routes[1] "/:id": constraints.id: a \'[\' without a \']\'',
        route_problem({ "/:id", get = f, constraints = { id = "%d[" } }))
      assert.equal('routes[1] "/:id": constraints: the path has no param "ID"',
        route_problem({ "/:id", get = f, constraints = { ID = "%d" } }))
      assert.equal('routes[1] "/:id": constraints.id: expected a Lua pattern, got a function',
        route_problem({ "/:id", get = f, constraints = { id = f } }))
      assert.equal('routes[1] "/:id": constraints: expected a table, got a string',
        route_problem({ "/:id", get = f, constraints = "%d" }))
      assert.equal('routes[1] "/:id": constraints: unknown key 1',
        route_problem({ "/:id", get = f, constraints = { "%d" } }))
      assert.equal('routes[1] "/api": constraints: the path has no param "id"',
        route_problem({ "/api", constraints = { id = "%d" }, { "/:ID", get = f } }))
      assert.equal('routes[1] "/api": constraints: the path has no param "id"',
        problem_of({ routes = {
          { "/api", constraints = { id = "%d" }, get = f }, { "/:id", get = f },
        } }))
    end)

    it("host", function()
      local hosts = { "", "*", "*.", "a.*", "a:80", "a/b", "a b", "a.", ("a"):rep(256) }
      for _, host in ipairs(hosts) do
        assert.matches('^routes%[1%] "/": host: ', route_problem({ "/", get = f, host = host }))
      end
      assert.matches("expected a string, got a table", route_problem({ "/", host = {} }))
      routes_of({ "/", get = f, host = "[::1]" }, { "/", get = f, host = "*.a-b.test" })
    end)

    it("nesting in itself", function()
      local route = { "/a", get = f }
      route[2] = { "/b", route }
      assert.equal("routes[1][1][1]: the route is nested in itself", route_problem(route))
    end)
  end)

  it("tells all problems at once, in one order", function()
    local value = {
      rotues = {}, workers = "x", listen = "nowhere", limits = { low_water = -1 }, tls = 1,
      log = 1, check = 1, interceptors = { 1 },
      routes = {
        { "a", get = 1, put = {}, gett = f, constraints = { x = "[" }, name = 1, host = 1 },
        { "/b", { "/:x/:x", get = f } },
      },
    }
    local problems = problems_of(value)
    assert.equal(16, #problems, table.concat(problems, "\n"))
    for _ = 1, 5 do
      assert.same(problems, problems_of(value))
    end
  end)

  it("takes any limit when it is not told their names", function()
    assert.same({ x = 1 }, service.check({ limits = { x = 1 } }).limits)
    assert.is_nil(service.check({ limits = { x = "1" } }))
  end)
end)
