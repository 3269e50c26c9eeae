-- Every snippet of the documentation does what is printed beside it.
local curl = require("curl")
local lfs = require("lfs")
local server = require("server")
local snippets = require("snippets")

local function files()
  local list = { "README.md" }
  for name in lfs.dir("docs") do
    if name:match("%.md$") then list[#list + 1] = "docs/" .. name end
  end
  table.sort(list)
  return list
end

local function run(s, command)
  local words = snippets.words(command)
  assert.equal("curl", table.remove(words, 1), "only curl is run: " .. command)
  for i, word in ipairs(words) do
    words[i] = word:gsub("^http://127%.0%.0%.1:8080", s.url)
  end
  return curl.run(words)
end

for _, path in ipairs(files()) do
  describe(path, function()
    for _, snippet in ipairs(snippets.of(server.read(path))) do
      if snippet.spec then
        it(("has a spec in line %d that passes"):format(snippet.line), function()
          local dir = server.folder()
          finally(function() server.remove_folder(dir) end)
          lfs.mkdir(dir .. "/spec")
          server.write(dir .. "/spec/snippet_spec.lua", snippet.spec)
          local result = server.command({ "test", dir }, { timeout = 60 })
          assert.equal("", result.stderr)
          assert.equal(0, result.exit, result.stdout)
        end)
      elseif snippet.check then
        it(("loads the snippet of line %d"):format(snippet.line), function()
          local dir = server.folder()
          finally(function() server.remove_folder(dir) end)
          server.write(dir .. "/app.lua", snippet.script)
          local result = server.command({ "check", dir .. "/app.lua" })
          assert.equal("", result.stderr)
          assert.equal(0, result.exit)
        end)
      else
        it(("has a snippet of line %d that prints what it says"):format(snippet.line), function()
          local tried = 0
          local s <close> = server.start({ script = snippet.script })
          for _, command in ipairs(snippet.commands) do
            if command.command:match("^curl ") then
              tried = tried + 1
              local result = run(s, command.command)
              -- As a terminal shows it; that -m has ended an endless stream is no news.
              local printed = result.stdout .. (result.exit ~= 28 and result.stderr or "")
              if not snippets.prints(printed, command.expected) then
                error(("%s\nprinted:\n%s\nexpected:\n%s"):format(command.command, printed,
                  table.concat(command.expected, "\n")))
              end
            end
          end
          assert.is_true(tried > 0, "a snippet that nothing is tried on")
        end)
      end
    end
  end)
end
