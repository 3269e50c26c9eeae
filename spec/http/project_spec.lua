-- `tidegate new` and `tidegate test`: what a project begins with, and how its specs are run.
local lfs = require("lfs")
local server = require("server")

local FINE, SCRIPT, USAGE, SYSTEM = 0, 1, 2, 3

describe("tidegate new", function()
  local dir, project

  before_each(function()
    dir = server.folder()
    project = dir .. "/deep/er/project"
  end)
  after_each(function() server.remove_folder(dir) end)

  it("makes a project whose specs pass and whose service serves", function()
    local made = server.command({ "new", project })
    assert.equal("", made.stderr)
    assert.equal(FINE, made.exit)
    assert.equal(project .. ": a project; its README.md says what to do with it\n", made.stdout)
    local tested = server.command({ "test", project }, { timeout = 60 })
    assert.equal("", tested.stderr)
    assert.matches("4 successes / 0 failures / 0 errors", tested.stdout)
    assert.equal(FINE, tested.exit)
    local checked = server.command({ "check", project .. "/app.lua" })
    assert.matches("app%.lua: fine, 5 routes", checked.stdout)
    assert.equal(FINE, checked.exit)
    for _, path in ipairs({ "README.md", ".luarc.json", "spec/app_spec.lua" }) do
      assert.equal("file", lfs.attributes(project .. "/" .. path, "mode"), path)
    end
    local declared = server.read(project .. "/.tidegate/tidegate.lua")
    assert.matches("^%-%-%-@meta tidegate\n", declared)
    assert(load(declared))
  end)

  it("makes what the linter has nothing against", function()
    server.command({ "new", project })
    assert.equal(true, os.execute(("cd %s && luacheck --quiet --std lua54+busted app.lua spec >&2")
      :format(project)))
  end)

  it("takes a folder that is there and empty, and no other", function()
    assert.equal(FINE, server.command({ "new", dir }).exit)
    local before = server.read(dir .. "/app.lua")
    local refused = server.command({ "new", dir })
    assert.equal(SYSTEM, refused.exit)
    assert.equal(("tidegate: %s: is not empty: a project begins in a folder of its own\n"):format(dir),
      refused.stderr)
    assert.equal(before, server.read(dir .. "/app.lua"))
    refused = server.command({ "new", dir .. "/app.lua" })
    assert.equal(SYSTEM, refused.exit)
    assert.matches("^tidegate: .*app%.lua: Not a directory\n$", refused.stderr)
  end)

  it("needs a folder, one", function()
    assert.equal(USAGE, server.command({ "new" }).exit)
    assert.equal("tidegate: new: needs a folder\n", server.command({ "new" }).stderr)
    assert.equal(USAGE, server.command({ "new", "a", "b" }).exit)
    assert.equal("tidegate: test: needs a folder\n", server.command({ "test" }).stderr)
  end)
end)

describe("tidegate test", function()
  local dir

  before_each(function()
    dir = server.folder()
    lfs.mkdir(dir .. "/spec")
  end)
  after_each(function() server.remove_folder(dir) end)

  local function test(text, args)
    server.write(dir .. "/spec/x_spec.lua", text)
    return server.command({ "test", dir, table.unpack(args or {}) }, { timeout = 60 })
  end

  it("is told of a failure by its exit code", function()
    local result = test('it("fails", function() assert.equal(1, 2) end)')
    assert.matches("0 successes / 1 failure / 0 errors", result.stdout)
    assert.equal(SCRIPT, result.exit)
    result = test('it("breaks", function( end)')
    assert.equal(SCRIPT, result.exit)
  end)

  it("gives Busted the words behind the folder", function()
    local text = 'it("one", function() end) it("two", function() end)'
    assert.matches("1 success ", test(text, { "--filter=one" }).stdout)
    assert.matches("2 successes", test(text, { "--", "--output=plainTerminal" }).stdout)
  end)

  it("is Lua 5.4, whatever the project's .busted says, in the project's folder", function()
    server.write(dir .. "/.busted", 'return { _all = { lua = "no-such-interpreter" } }')
    server.write(dir .. "/module.lua", "return 42")
    local result = test([[
      it("is", function()
        assert.equal("Lua 5.4", _VERSION)
        assert.equal(42, require("module"))
      end)
    ]])
    assert.equal(FINE, result.exit, result.stdout)
  end)

  it("lets specs wait, in anything that Busted has", function()
    local result = test([[
      local tg = require("tidegate")
      local log = {}
      setup(function() tg.sleep(0.001) log[#log + 1] = "setup" end)
      before_each(function() tg.sleep(0.001) log[#log + 1] = "before" end)
      describe("a", function()
        it("b", function() tg.sleep(0.001) assert.same({ "setup", "before" }, log) end)
        it("c", function()
          finally(function() tg.sleep(0.001) end)
          assert.has_error(function() tg.sleep(0.001) error("x") end)
        end)
      end)
    ]])
    assert.equal(FINE, result.exit, result.stdout)
  end)

  it("ends at os.exit, whatever still runs", function()
    local result = test([[
      local tg = require("tidegate")
      it("ends", function()
        local service = { routes = { { "/", get = function() tg.sleep(1000) end } } }
        tg.spawn(tg.test.response_for, service, "GET", "/")
        tg.background(function() local up <close> = tg.test.upstream() tg.sleep(1000) end)
        tg.sleep(0.01)
        os.exit(7)
      end)
    ]])
    assert.equal(7, result.exit)
  end)

  it("says what is missing", function()
    local result = server.command({ "test", dir .. "/nowhere" })
    assert.equal(SYSTEM, result.exit)
    assert.matches("^tidegate: .*nowhere: No such file or directory\n$", result.stderr)
    result = server.command({ "test", dir }, { env = { LUA_PATH_5_4 = "/nowhere/?.lua" } })
    assert.equal(SYSTEM, result.exit)
    assert.equal(
      "tidegate: test: Busted is not installed for Lua 5.4: try `apt install lua-busted`\n",
      result.stderr)
  end)

  it("tests the examples as their users would", function()
    local result = server.command({ "test", "examples" }, { timeout = 60 })
    assert.equal("", result.stderr)
    assert.matches("7 successes / 0 failures / 0 errors", result.stdout)
    assert.equal(FINE, result.exit)
  end)
end)

describe("a service's check", function()
  local SCRIPT_TEXT = [[
    local tg = require("tidegate")
    local service = { routes = { { "/", get = function()
      tg.sleep(0.01)
      return { body = %s }
    end } } }
    function service.check(gateway)
      local clock <close> = tg.test.clock()
      assert(gateway.worker == 0)
      clock:run()
      local response = tg.test.response_for(service, "GET", "/")
      assert(response.body == "good", response.error or response.body)
    end
    return service
  ]]

  it("tries the new script by tg.test, and its failure keeps the old one (B58)", function()
    local raw = require("raw")
    local s <close> = server.start({ script = SCRIPT_TEXT:format('"good"'), workers = 2 })
    assert.equal("good", raw.get(s.port, "/").body)
    server.write(s.script, SCRIPT_TEXT:format('"bad"'))
    s:kill("HUP")
    s:wait_log("the last good script serves on: check: .*bad")
    server.write(s.script, SCRIPT_TEXT:format("nil + 1"))
    s:kill("HUP")
    s:wait_log("the last good script serves on: check: .*arithmetic on a nil value")
    assert.equal("good", raw.get(s.port, "/").body)
  end)

  it("that fails at the start is a script that does not serve (B62)", function()
    local dir = server.folder()
    finally(function() server.remove_folder(dir) end)
    server.write(dir .. "/app.lua", SCRIPT_TEXT:format('"bad"'))
    local result = server.command({ "run", dir .. "/app.lua", "--listen", "127.0.0.1:0" })
    assert.equal(SCRIPT, result.exit)
    assert.matches("check: .*bad", result.stderr)
  end)

  it("leaves the gateway's clock alone: tg.test.clock is for trials", function()
    local raw = require("raw")
    local s <close> = server.start({ script = [[
      local tg = require("tidegate")
      return { routes = { { "/", get = function()
        local fine, why = pcall(tg.test.clock)
        return { body = tostring(fine) .. " " .. why }
      end } } }
    ]] })
    assert.matches("^false .*the time that there is", raw.get(s.port, "/").body)
  end)

  it("is not needed for tg.test in a handler", function()
    local raw = require("raw")
    local s <close> = server.start({ script = [[
      local tg = require("tidegate")
      local inner = { routes = { { "/in", name = "in", get = function()
        tg.sleep(0.001)
        return { body = "inner" }
      end } } }
      return { routes = { { "/", name = "out", get = function()
        local body = tg.test.response_for(inner, "GET", "/in").body
        return { body = body .. " " .. tg.url_for("out") }
      end } } }
    ]] })
    assert.equal("inner /", raw.get(s.port, "/").body)
  end)
end)
