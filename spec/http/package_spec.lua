-- The manual page and the Debian package: whole, current, and what their tools take.
local harness = require("harness")
local server = require("server")

local BUILD = os.getenv("TIDEGATE_BUILD") or "build"
local CC = os.getenv("TIDEGATE_CC") or "cc"

-- { exit =, stdout =, stderr = }
local function run(argv, env)
  env = env or {}
  env.MAKEFLAGS, env.MAKEOVERRIDES = false, false
  local process <close> = assert(harness.spawn(argv, { stdout = "pipe", stderr = "pipe", env = env }))
  local exit = process:wait(120)
  return { exit = exit, stdout = process:output("stdout"), stderr = process:output("stderr") }
end

local function output(argv, env)
  local result = run(argv, env)
  if result.exit ~= 0 then error(table.concat(argv, " ") .. ": " .. result.stderr, 2) end
  return result.stdout
end

describe("docs/tidegate.1", function()
  it("is set without a warning", function()
    local result = run({ "groff", "-ww", "-man", "-Tutf8", "docs/tidegate.1" })
    assert.same({ 0, "" }, { result.exit, result.stderr })
    assert.matches("HTTP gateway scripted in Lua", result.stdout, 1, true)
  end)

  it("has every command and option that `tidegate help` has, and no others", function()
    local function words(text, pattern)
      local list, seen = {}, {}
      for word in text:gmatch(pattern) do
        if not seen[word] then list[#list + 1] = word end
        seen[word] = true
      end
      table.sort(list)
      return list
    end
    local help = server.command({ "help" }).stdout
    local page = server.read("docs/tidegate.1"):gsub("\\%-", "-")
    assert.same(words(help, "%-%-%l[%l-]*"), words(page, "%-%-%l[%l-]*"))
    assert.same(words(help, "tidegate (%l+) ?[%u-\n]"), words(page, "\n%.B tidegate (%l+)"))
  end)
end)

describe("make deb", function()
  local dir, package

  setup(function()
    dir = server.folder()
    package = dir .. "/tidegate.deb"
    output({ "make", "-s", "deb", "SAN=", "BUILD=" .. BUILD, "CC=" .. CC, "DEB=" .. package },
      { MAINTAINER = "Ann & Bob O'Neil <ann@example.org>" })
  end)
  teardown(function() server.remove_folder(dir) end)

  it("makes a package of the command, its page, units, copyright and changelog", function()
    local names = {}
    for line in output({ "dpkg-deb", "--contents", package }):gmatch("[^\n]+") do
      local mode, owner, name = line:match("^(%S+) (%S+) .* %.(/%S*)$")
      assert.equal("root/root", owner)
      assert.matches("^.rw.r..r..$", mode)
      if mode:sub(1, 1) ~= "d" and not name:find("/examples/") then names[#names + 1] = name end
    end
    table.sort(names)
    assert.same({
      "/lib/systemd/system/tidegate.service",
      "/lib/systemd/system/tidegate.socket",
      "/usr/bin/tidegate",
      "/usr/share/doc/tidegate/changelog.gz",
      "/usr/share/doc/tidegate/copyright",
      "/usr/share/man/man1/tidegate.1.gz",
    }, names)
  end)

  it("names its version, its maintainer and the libraries that the command needs", function()
    local function field(name) return output({ "dpkg-deb", "--field", package, name }) end
    assert.equal(server.command({ "version" }).stdout:match("%d[%d.]*%d"),
      field("Version"):match("%S+"))
    assert.equal("Ann & Bob O'Neil <ann@example.org>\n", field("Maintainer"))
    assert.matches("liblua5%.4%-0 %(>= 5", field("Depends"))
    assert.matches("libevent%-2", field("Depends"))
  end)

  it("has a command that runs, and units and a changelog that are the package's own", function()
    local root = dir .. "/root"
    output({ "dpkg-deb", "--extract", package, root })
    assert.equal(server.command({ "version" }).stdout, output({ root .. "/usr/bin/tidegate", "version" }))
    assert.matches("\nExecStart=/usr/bin/tidegate run ",
      server.read(root .. "/lib/systemd/system/tidegate.service"), 1, true)
    local changelog = dir .. "/changelog"
    server.write(changelog,
      output({ "gzip", "-dc", root .. "/usr/share/doc/tidegate/changelog.gz" }))
    local parsed = run({ "dpkg-parsechangelog", "-l", changelog, "--all" })
    assert.same({ 0, "" }, { parsed.exit, parsed.stderr })
    assert.matches("Maintainer: Ann & Bob O'Neil <ann@example.org>", parsed.stdout, 1, true)
  end)

  if os.execute("command -v lintian >/dev/null 2>&1") then
    it("has no errors, says lintian", function()
      local result = run({ "lintian", "--fail-on", "error", package })
      assert.equal(0, result.exit, result.stdout)
    end)
  end
end)
