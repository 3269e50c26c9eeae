-- router_spec.lua - which route a method, a host and a path belong to.

local probe = require("probe_router")

local DIGITS, LOWER, ANYTHING = 1, 2, 3

--- A router with the given routes, each { "GET /path", constraints…, host = … }: the nth one is
--- route n.
local function router_of(list)
  local router = probe.new()
  for n, entry in ipairs(list) do
    local method, path = entry[1]:match("^(%S*) (.*)$")
    local spec = { method = method, path = path, host = entry.host, route = n }
    table.move(entry, 2, #entry, 1, spec)
    assert.equal("ok", (router:add(spec)))
  end
  return router
end

describe("the router", function()
  describe("on one level", function()
    it("prefers a literal to a param, whichever was added first (B53)", function()
      local router = router_of({ { "GET /users/:id" }, { "GET /users/search" } })
      assert.same({ "found", 2, {} }, { router:match("GET", "/users/search") })
      assert.same({ "found", 1, { "id=searches" } }, { router:match("GET", "/users/searches") })
    end)

    it("prefers a param to a splat (B53)", function()
      local router = router_of({ { "GET /f/*rest" }, { "GET /f/:one" } })
      assert.same({ "found", 2, { "one=a" } }, { router:match("GET", "/f/a") })
      assert.same({ "found", 1, { "rest=a/b" } }, { router:match("GET", "/f/a/b") })
    end)

    it("goes back to a param when a literal leads nowhere (B53)", function()
      local router = router_of({ { "GET /a/new" }, { "GET /a/:id/x" } })
      assert.same({ "found", 2, { "id=new" } }, { router:match("GET", "/a/new/x") })
    end)

    it("goes back over several levels, and forgets the values it took on the way (B53)", function()
      local router = router_of({ { "GET /:a/:b/:c/end" }, { "GET /:x/*rest" } })
      assert.same({ "found", 1, { "a=1", "b=2", "c=3" } }, { router:match("GET", "/1/2/3/end") })
      assert.same({ "found", 2, { "x=1", "rest=2/3/4" } }, { router:match("GET", "/1/2/3/4") })
    end)

    it("names the params of two routes through one node apart", function()
      local router = router_of({ { "GET /u/:id" }, { "GET /u/:user/posts" }, { "PUT /u/:key" } })
      assert.same({ "found", 1, { "id=7" } }, { router:match("GET", "/u/7") })
      assert.same({ "found", 2, { "user=7" } }, { router:match("GET", "/u/7/posts") })
      assert.same({ "found", 3, { "key=7" } }, { router:match("PUT", "/u/7") })
    end)
  end)

  describe("and the path's bytes", function()
    it("gives a param and a splat at least one character (B53)", function()
      local router = router_of({ { "GET /files/*path" }, { "GET /p/:x" }, { "GET /q/:x/z" } })
      assert.equal("no path", (router:match("GET", "/files/")))
      assert.equal("no path", (router:match("GET", "/files")))
      assert.equal("no path", (router:match("GET", "/p/")))
      assert.equal("no path", (router:match("GET", "/q//z")))
      assert.same({ "found", 1, { "path=a" } }, { router:match("GET", "/files/a") })
      assert.same({ "found", 1, { "path=/" } }, { router:match("GET", "/files//") })
    end)

    it("tells a path from the same with a slash at its end (B53)", function()
      local router = router_of({ { "GET /a" }, { "GET /b/" }, { "GET /c" }, { "GET /c/" } })
      assert.equal("no path", (router:match("GET", "/a/")))
      assert.equal("no path", (router:match("GET", "/b")))
      assert.same({ "found", 3, {} }, { router:match("GET", "/c") })
      assert.same({ "found", 4, {} }, { router:match("GET", "/c/") })
    end)

    it("knows the root and empty segments", function()
      local router = router_of({ { "GET /" }, { "GET /a//b" } })
      assert.same({ "found", 1, {} }, { router:match("GET", "/") })
      assert.equal("no path", (router:match("GET", "//")))
      assert.same({ "found", 2, {} }, { router:match("GET", "/a//b") })
      assert.equal("no path", (router:match("GET", "/a/b")))
    end)

    it("decodes a segment after splitting: an escaped slash splits nothing (B53)", function()
      local router = router_of({ { "GET /a/:x" }, { "GET /a/:x/:y" } })
      assert.same({ "found", 1, { "x=a%2Fb" } }, { router:match("GET", "/a/a%2Fb") })
    end)

    it("compares a literal with the decoded segment (B53)", function()
      local router = router_of({ { "GET /café" }, { "GET /a b" } })
      assert.equal("found", (router:match("GET", "/caf%C3%A9")))
      assert.equal("found", (router:match("GET", "/caf%c3%a9")))
      assert.equal("found", (router:match("GET", "/c%61f%c3%a9")))
      assert.equal("found", (router:match("GET", "/a%20b")))
      assert.equal("no path", (router:match("GET", "/a+b")))
      assert.equal("no path", (router:match("GET", "/Caf%C3%A9")))
      assert.equal("no path", (router:match("GET", "/caf%C3")))
      assert.equal("no path", (router:match("GET", "/caf%C3%A9%20")))
    end)

    it("finds a bad escape anywhere in the path, matched or not (B53)", function()
      local router = router_of({ { "GET /a" }, { "GET /f/*p" } })
      for _, path in ipairs({ "/%", "/a%2", "/f/x/%zz", "/none/%", "/f/%00%" }) do
        assert.equal("bad path", (router:match("GET", path)), path)
      end
    end)

    it("takes a NUL for a byte like another (B51)", function()
      local router = router_of({ { "GET /a" }, { "GET /f/*p" } })
      assert.equal("no path", (router:match("GET", "/a%00")))
      assert.equal("no path", (router:match("GET", "/a%00b")))
      assert.same({ "found", 2, { "p=x%00y" } }, { router:match("GET", "/f/x%00y") })
    end)

    it("leaves dot segments as they are", function()
      local router = router_of({ { "GET /a" }, { "GET /x/:p" }, { "GET /.." } })
      assert.equal("no path", (router:match("GET", "/x/../a")))
      assert.same({ "found", 2, { "p=.." } }, { router:match("GET", "/x/..") })
      assert.same({ "found", 2, { "p=%2e%2e" } }, { router:match("GET", "/x/%2e%2e") })
      assert.same({ "found", 3, {} }, { router:match("GET", "/%2e%2E") })
    end)

    it("has no route for what is no path", function()
      local router = router_of({ { "GET /" }, { " /*all" } })
      assert.equal("no path", (router:match("OPTIONS", "*")))
      assert.equal("no path", (router:match("GET", "")))
      assert.equal("no path", (router:match("GET", "a")))
    end)
  end)

  describe("and methods", function()
    it("says 404 for an unknown path and lists the methods of a known one (B54)", function()
      local router = router_of({ { "POST /a" }, { "GET /a" }, { "PROPFIND /a" }, { "GET /b" } })
      assert.same({ "no path" }, { router:match("GET", "/c") })
      assert.same({ "no method", "GET, HEAD, OPTIONS, POST, PROPFIND" },
        { router:match("DELETE", "/a") })
      assert.same({ "no method", "GET, HEAD, OPTIONS, POST, PROPFIND" },
        { router:match("OPTIONS", "/a") })
      assert.same({ "no method", "GET, HEAD, OPTIONS" }, { router:match("POST", "/b") })
    end)

    it("adds HEAD to the list only where there is GET (B54)", function()
      local router = router_of({ { "PUT /a" }, { "HEAD /b" } })
      assert.same({ "no method", "OPTIONS, PUT" }, { router:match("HEAD", "/a") })
      assert.same({ "no method", "HEAD, OPTIONS" }, { router:match("GET", "/b") })
    end)

    it("lists what all candidates of the path allow (B54)", function()
      local router = router_of({
        { "PUT /a/b" }, { "GET /a/:x" }, { "DELETE /*all" }, { "LOCK /c" },
      })
      assert.same({ "no method", "DELETE, GET, HEAD, OPTIONS, PUT" },
        { router:match("POST", "/a/b") })
    end)

    it("passes over a node without the method for the next candidate", function()
      local router = router_of({ { "POST /u/new" }, { "GET /u/:id" }, { "DELETE /*all" } })
      assert.same({ "found", 2, { "id=new" } }, { router:match("GET", "/u/new") })
      assert.same({ "found", 3, { "all=u/new" } }, { router:match("DELETE", "/u/new") })
      assert.same({ "found", 1, {} }, { router:match("POST", "/u/new") })
    end)

    it("prefers a specific method to any, whichever was added first (B54)", function()
      local router = router_of({ { " /a" }, { "GET /a" }, { "GET /b" }, { " /b" } })
      assert.same({ "found", 2, {} }, { router:match("GET", "/a") })
      assert.same({ "found", 3, {} }, { router:match("GET", "/b") })
      for _, method in ipairs({ "POST", "OPTIONS", "X-NEW" }) do
        assert.same({ "found", 1, {} }, { router:match(method, "/a") })
      end
    end)

    it("prefers a literal's any to a param's specific method", function()
      local router = router_of({ { "GET /:x" }, { " /a" } })
      assert.same({ "found", 2, {} }, { router:match("GET", "/a") })
    end)

    it("lets HEAD fall to GET before any, unless there is a HEAD (B54)", function()
      local router = router_of({ { " /a" }, { "GET /a" }, { "GET /b" }, { "HEAD /b" }, { " /c" } })
      assert.same({ "found", 2, {} }, { router:match("HEAD", "/a") })
      assert.same({ "found", 4, {} }, { router:match("HEAD", "/b") })
      assert.same({ "found", 5, {} }, { router:match("HEAD", "/c") })
    end)

    it("answers OPTIONS with a route of that method when there is one (B54)", function()
      local router = router_of({ { "GET /a" }, { "OPTIONS /a" } })
      assert.same({ "found", 2, {} }, { router:match("OPTIONS", "/a") })
    end)

    it("compares methods with case", function()
      assert.equal("no method", (router_of({ { "GET /a" } }):match("get", "/a")))
    end)

    it("has room in a list for sixty methods, and refuses more", function()
      local router = probe.new()
      local names = { "OPTIONS" }
      for n = 1, 60 do
        names[#names + 1] = ("M%02d"):format(n)
        assert.equal("ok", (router:add({ method = names[#names], path = "/" })))
      end
      assert.equal("invalid argument", (router:add({ method = "M61", path = "/" })))
      table.sort(names)
      local _, allow = router:match("GET", "/")
      assert.equal(table.concat(names, ", "), allow)
    end)

    it("leaves whole names out of a list that is too long", function()
      local router = probe.new()
      for n = 1, 60 do
        router:add({ method = ("M%031d"):format(n), path = "/" })
      end
      local _, allow = router:match("GET", "/")
      for name in (allow .. ", "):gmatch("(.-), ") do
        assert.truthy(name == "OPTIONS" or #name == 32, name)
      end
      assert.truthy(#allow < 512 and #allow > 400)
    end)
  end)

  describe("and constraints", function()
    it("goes on searching when one fails (B55)", function()
      local router = router_of({ { "GET /u/:id", "id", DIGITS }, { "GET /u/*rest" } })
      assert.same({ "found", 1, { "id=42" } }, { router:match("GET", "/u/42") })
      assert.same({ "found", 2, { "rest=x" } }, { router:match("GET", "/u/x") })
    end)

    it("tries routes with different ones before the one without, however added (B55)", function()
      local router = router_of({
        { "GET /u/:name" }, { "GET /u/:id", "id", DIGITS }, { "GET /u/:word", "word", LOWER },
      })
      assert.same({ "found", 2, { "id=42" } }, { router:match("GET", "/u/42") })
      assert.same({ "found", 3, { "word=ab" } }, { router:match("GET", "/u/ab") })
      assert.same({ "found", 1, { "name=A" } }, { router:match("GET", "/u/A") })
    end)

    it("answers 404, not 405, when a constraint is all that fails (B55)", function()
      local router = router_of({ { "GET /u/:id", "id", DIGITS } })
      assert.equal("no path", (router:match("GET", "/u/x")))
      assert.equal("no path", (router:match("POST", "/u/x")))
      assert.equal("no method", (router:match("POST", "/u/1")))
    end)

    it("wants every one satisfied", function()
      local router = router_of({ { "GET /:a/:b", "b", LOWER, "a", DIGITS } })
      assert.equal("found", (router:match("GET", "/1/a")))
      assert.equal("no path", (router:match("GET", "/1/1")))
      assert.equal("no path", (router:match("GET", "/a/a")))
    end)

    it("checks the decoded segment, and a splat with its slashes", function()
      local router = router_of({ { "GET /d/:x", "x", DIGITS }, { "GET /s/*x", "x", ANYTHING } })
      assert.equal("found", (router:match("GET", "/d/%34%32")))
      router:match("GET", "/s/a%2F/%C3%A9")
      assert.same("a//é", select(2, probe.seen()))
    end)

    it("lets no escaped value past its cap pass", function()
      local router = router_of({ { "GET /:x", "x", ANYTHING } })
      assert.equal("found", (router:match("GET", "/%20" .. ("a"):rep(8189))))
      assert.equal("no path", (router:match("GET", "/%20" .. ("a"):rep(8190))))
      assert.equal("found", (router:match("GET", "/" .. ("a"):rep(100000))))
    end)

    it("is asked once per candidate", function()
      local router = router_of({ { "GET /:x", "x", DIGITS }, { "PUT /:x", "x", DIGITS } })
      probe.seen()
      router:match("GET", "/1")
      assert.equal(1, (probe.seen()))
    end)
  end)

  describe("and hosts", function()
    local list = {
      { "GET /a" }, { "GET /a", host = "*.example.com" }, { "GET /a", host = "www.Example.com" },
      { "GET /a", host = "*.b.example.com" }, { "GET /every" }, { "PUT /a" },
      { "GET /a", host = "[::1]" },
    }

    it("prefers the exact, then the longest wildcard, then those of every host (B55)", function()
      local router = router_of(list)
      for host, route in pairs({
        ["www.example.com"] = 3, ["WWW.EXAMPLE.COM"] = 3, ["www.example.com."] = 3,
        ["x.example.com"] = 2, ["x.y.example.com"] = 2, ["x.b.example.com"] = 4,
        ["b.example.com"] = 2, ["X.B.Example.com"] = 4, ["example.com"] = 1, [".example.com"] = 1,
        ["badexample.com"] = 1, [""] = 1, ["[::1]"] = 7, ["example.com.evil"] = 1,
      }) do
        assert.same({ "found", route, {} }, { router:match("GET", "/a", host) }, host)
      end
    end)

    it("goes on to the next host's routes when one has no such path or method (B55)", function()
      local router = router_of(list)
      assert.same({ "found", 5, {} }, { router:match("GET", "/every", "www.example.com") })
      assert.same({ "found", 6, {} }, { router:match("PUT", "/a", "www.example.com") })
      assert.same({ "no method", "GET, HEAD, OPTIONS, PUT" },
        { router:match("POST", "/a", "www.example.com") })
    end)

    it("finds nothing for a host without routes", function()
      local router = router_of({ { "GET /a", host = "a.test" } })
      assert.equal("no path", (router:match("GET", "/a", "b.test")))
      assert.equal("no path", (router:match("GET", "/a")))
    end)

    it("is not slowed down by a host of many labels", function()
      local router = router_of({ { "GET /a", host = "*.x" } })
      local started = os.clock()
      for _ = 1, 100 do
        assert.equal("no path", (router:match("GET", "/a", ("a."):rep(30000))))
      end
      assert.truthy(os.clock() - started < 2)
    end)
  end)

  describe("refuses", function()
    it("two routes of one shape, and says which one is there (B54)", function()
      for _, pair in ipairs({
        { { "GET /u/:id" }, { "GET /u/:name" } }, { { " /a" }, { " /a" } },
        { { "GET /f/*a" }, { "GET /f/*b" } },
        { { "GET /u/:a/:b", "a", 1, "b", 2 }, { "GET /u/:x/:y", "y", 2, "x", 1 } },
        { { "GET /", host = "a.test" }, { "GET /", host = "A.test" } },
        { { "GET /", host = "*.a.test" }, { "GET /", host = "*.A.test" } },
      }) do
        local router = router_of({ { "GET /other" }, pair[1] })
        local method, path = pair[2][1]:match("^(%S*) (.*)$")
        local spec = { method = method, path = path, host = pair[2].host, route = 9 }
        table.move(pair[2], 2, #pair[2], 1, spec)
        local status, clash = router:add(spec)
        assert.same({ "limit reached", 2 }, { status, clash }, pair[2][1])
      end
    end)

    it("but not the same path with another method, host or constraint", function()
      router_of({
        { "GET /u/:a" }, { "PUT /u/:a" }, { " /u/:a" }, { "GET /u/:a", host = "a.test" },
        { "GET /u/:a", host = "*.a.test" }, { "GET /u/:a", "a", 1 }, { "GET /u/:a", "a", 2 },
        { "GET /u/:a", "a", 1, "a", 2 }, { "GET /u/:a/" }, { "GET /u/*a" },
        { "GET /v/:a/:b", "a", 1 }, { "GET /v/:a/:b", "b", 1 },
      })
    end)

    it("a malformed path", function()
      local deep = ("/x"):rep(257)
      local many = {}
      for n = 1, 33 do
        many[n] = "/:p" .. n
      end
      for _, path in ipairs({
        "", "a", "a/b", "/:", "/*", "/a/:/b", "/*rest/x", "/*rest/", "/:a/:a", "/:a/*a",
        "/:id.json", "/a\0b", deep, table.concat(many),
      }) do
        local status, clash = probe.new():add({ method = "GET", path = path })
        assert.equal("invalid argument", status, path)
        assert.is_nil(clash)
      end
      assert.equal("ok", (probe.new():add({ method = "GET", path = deep:sub(3) })))
      local most = table.concat(many, "", 1, 32)
      assert.equal("ok", (probe.new():add({ method = "GET", path = most })))
    end)

    it("a malformed host", function()
      for _, host in ipairs({ "*", "*.", "a.*", "*.*.a", "a:80", "a/b", "a b", "a.", "a\0",
        ("a"):rep(256) }) do
        local spec = { method = "GET", path = "/", host = host }
        assert.equal("invalid argument", (probe.new():add(spec)), host)
      end
    end)

    it("a method that is no token", function()
      for _, method in ipairs({ "A B", "GÉT", "A\0", "A,B", ("M"):rep(33) }) do
        local spec = { method = method, path = "/" }
        assert.equal("invalid argument", (probe.new():add(spec)), method)
      end
    end)

    it("a constraint for no param of the path, or without a way to check it", function()
      assert.equal("invalid argument", (probe.new():add({ path = "/:a", "b", 1 })))
      assert.equal("invalid argument", (probe.new(true):add({ path = "/:a", "a", 1 })))
    end)
  end)

  describe("under load", function()
    it("takes no memory for a match", function()
      local router = router_of({
        { "GET /a/:b/*c", "b", DIGITS, "c", ANYTHING }, { "GET /x", host = "*.test" },
      })
      for _, path in ipairs({ "/a/%31/x%20y/z", "/a/b/c", "/x", "/none" }) do
        assert.is_false(router:allocates("GET", path, "www.test"), path)
        assert.is_false(router:allocates("PUT", path, "www.test"), path)
      end
      assert.equal("found", (router:match("GET", "/a/1/x")))
    end)

    it("keeps a hundred thousand routes below one node, and finds each at once", function()
      local started = os.clock()
      local router = probe.new()
      for n = 1, 100000 do
        assert(router:add({ method = "GET", path = "/api/item" .. n, route = n }) == "ok")
      end
      for n = 1, 100000 do
        local _, route = router:match("GET", "/api/item" .. n)
        assert(route == n)
      end
      assert.equal("no path", (router:match("GET", "/api/item0")))
      assert.truthy(os.clock() - started < 5)
    end)

    it("tells literals of one hash apart", function()
      local router = router_of({
        { "GET /costarring" }, { "GET /liquid" }, { "GET /declinate" }, { "GET /macallums" },
      })
      assert.same({ "found", 2, {} }, { router:match("GET", "/liquid") })
      assert.same({ "found", 4, {} }, { router:match("GET", "/macallums") })
    end)

    it("comes to each node once, however a path is made to backtrack", function()
      local router = probe.new()
      local count = 0
      local function grow(path, depth)
        if depth == 12 then
          count = count + 1
          router:add({ method = "GET", path = path .. "/end" })
          return
        end
        grow(path .. "/a", depth + 1)
        grow(path .. "/:p" .. depth, depth + 1)
      end
      grow("", 0)
      assert.equal(4096, count)
      local started = os.clock()
      router:repeat_match(100, "GET", ("/a"):rep(12) .. "/none")
      router:repeat_match(100, "GET", ("/a"):rep(4000))
      assert.truthy(os.clock() - started < 2)
    end)

    it("stands a path of slashes against deep routes", function()
      local router = router_of({
        { "GET /:p/x" }, { "GET " .. ("/"):rep(256) }, { "GET /*all" },
      })
      assert.same({ "found", 2, {} }, { router:match("GET", ("/"):rep(256)) })
      local kind, route, params = router:match("GET", ("/"):rep(8000))
      assert.same({ "found", 3, { "all=" .. ("/"):rep(7999) } }, { kind, route, params })
      local started = os.clock()
      router:repeat_match(1000, "GET", ("/"):rep(8000))
      router:repeat_match(1000, "POST", ("/"):rep(8000))
      assert.truthy(os.clock() - started < 2)
    end)

    it("says so when memory runs out at any point, and frees all of it", function()
      local specs = {
        { method = "GET", path = "/a/:b/*c", "b", 1, "c", 3, route = 1 },
        { method = "X-OWN", path = "/a/b/c/d", host = "*.a.test", route = 2 },
        { method = "GET", path = "/a/b2", host = "a.test", route = 3 },
      }
      local failed = 0
      for n = 1, 100 do
        local router = probe.new()
        probe.fail_at(n)
        local ok = true
        for _, spec in ipairs(specs) do
          ok = router:add(spec) == "ok" and ok
        end
        probe.fail_at(0)
        if ok then
          break
        end
        failed = failed + 1
        for _, spec in ipairs(specs) do -- what failed can be added again, what did not clashes
          local _, clash = router:add(spec)
          assert.truthy(clash == nil or clash == spec.route)
        end
        assert.same({ "found", 1, { "b=7", "c=x" } }, { router:match("GET", "/a/7/x") })
        assert.same({ "found", 2, {} }, { router:match("X-OWN", "/a/b/c/d", "x.a.test") })
        assert.same({ "found", 3, {} }, { router:match("GET", "/a/b2", "a.test") })
      end
      assert.truthy(failed >= 20 and failed < 100, failed)
    end)
  end)

  describe("against a plain reading of the rules", function()
    local POOL = { "a", "b", ":x", ":y", "" }
    local VALUES = { [":x"] = "c", [":y"] = "d", ["*z"] = "e/f" }

    local function random_path()
      local segments, used = {}, {}
      for n = 1, math.random(4) do
        local segment = POOL[math.random(#POOL)]
        if used[segment] then
          segment = "a"
        end
        used[segment] = segment:find("^:") and true or nil
        segments[n] = segment
      end
      if math.random(4) == 1 then
        segments[#segments] = "*z"
      end
      return "/" .. table.concat(segments, "/")
    end

    --- A key that sorts as candidates are tried: literal, param, splat, by segment.  Or nil.
    local function fits(route, path)
      local rank, rest = {}, path:sub(2)
      for segment, at in (route:sub(2) .. "/"):gmatch("([^/]*)/()") do
        local kind = segment:sub(1, 1)
        if kind == "*" then
          return rest ~= "" and table.concat(rank) .. "3" or nil
        end
        local head, tail = rest:match("^([^/]*)(.*)$")
        local last = at > #route
        if (kind == ":" and head == "") or (kind ~= ":" and head ~= segment)
          or (tail == "") ~= last then
          return nil
        end
        rank[#rank + 1] = kind == ":" and "2" or "1"
        rest = tail:sub(2)
      end
      return table.concat(rank)
    end

    it("finds the same route for ten thousand random paths (B53)", function()
      math.randomseed(7)
      local found = 0
      for _ = 1, 200 do
        local router, paths = probe.new(), {}
        for _ = 1, math.random(12) do
          local path = random_path()
          if router:add({ method = "GET", path = path, route = #paths + 1 }) == "ok" then
            paths[#paths + 1] = path
          end
        end
        for _ = 1, 50 do
          local path = random_path():gsub("[:*]%a", VALUES)
          local best, expected
          for n, route in ipairs(paths) do
            local key = fits(route, path)
            if key and (not best or key < best) then
              best, expected = key, n
            end
          end
          local _, route = router:match("GET", path)
          assert(route == expected, ("%s: %s, not %s"):format(path, paths[route], paths[expected]))
          found = found + (expected and 1 or 0)
        end
      end
      assert.truthy(found > 1000)
    end)
  end)
end)
