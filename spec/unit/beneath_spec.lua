-- Opening below a folder, by openat2() and by steps: whatever the path and the links say.
local harness = require("harness")
local lfs = require("lfs")
local probe = require("probe_file")
local server = require("server")

describe("a path below a folder (B23)", function()
  local top, root

  -- top/{secret, root/{a, dir/{b, up -> ../a}, in -> dir/b, way -> dir, out -> ../secret, far -> /etc/passwd,
  --   back -> dir/../../root/a, loop -> loop, self -> .}}
  setup(function()
    top = server.folder()
    root = top .. "/root"
    assert(lfs.mkdir(root))
    assert(lfs.mkdir(root .. "/dir"))
    server.write(top .. "/secret", "secret")
    server.write(root .. "/a", "a")
    server.write(root .. "/dir/b", "b")
    for name, target in pairs({ ["in"] = "dir/b", way = "dir", out = "../secret", far = "/etc/passwd",
      back = "dir/../../root/a", loop = "loop", self = ".", ["dir/up"] = "../a", dots = "..",
      abs = root .. "/a", chain = "way/../in" }) do
      assert(lfs.link(target, root .. "/" .. name, true))
    end
  end)
  teardown(function() server.remove_folder(top) end)

  for _, way in ipairs({ "openat2", "steps" }) do
    local function read(path) return probe.read_beneath(root, path, way == "steps") end
    local function refused(path, with)
      local text, why = read(path)
      assert.is_nil(text, path)
      if with then assert.equal(with, why, path) end
    end

    describe("opened by " .. way, function()
      it("is found", function()
        assert.equal("a", read("a"))
        assert.equal("b", read("dir/b"))
        assert.equal("b", read(".//dir/.///b"))
        assert.equal("a", read("dir/../a"))
      end)

      it("follows links that stay below", function()
        for path, text in pairs({ ["in"] = "b", ["way/b"] = "b", ["dir/up"] = "a", ["way/up"] = "a",
          ["self/self/a"] = "a", chain = "b" }) do
          assert.equal(text, read(path), path)
        end
      end)

      it("leads nowhere else", function()
        for _, path in ipairs({ "..", "../secret", "dir/../../secret", "../root/a", "out", "far", "back",
          "dots", "dots/secret", "way/../../secret", "self/../secret", "/etc/passwd", "/", "abs", "out/x" }) do
          refused(path, "EXDEV")
        end
      end)

      it("that is none says why", function()
        refused("missing", "ENOENT")
        refused("dir/missing/x", "ENOENT")
        refused("", "ENOENT")
        refused("a/", "ENOTDIR")
        refused("a/b", "ENOTDIR")
        refused("in/", "ENOTDIR")
        refused("loop", "ELOOP")
        refused(("x"):rep(300), "ENAMETOOLONG")
        refused(("dir/../"):rep(1000) .. "a", "ENAMETOOLONG")
        refused("dir", "EISDIR")
        refused("dir/", "EISDIR")
        refused(".", "EISDIR")
      end)

      it("leaves no folder open", function()
        local before = harness.fds()
        for _, path in ipairs({ "a", "dir/up", "out", "loop", "a/b", "dir/../../x" }) do read(path) end
        assert.equal(before, harness.fds())
      end)
    end)
  end
end)
