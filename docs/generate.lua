--- Makes docs/reference.md, and what `tidegate new` gives to editors, of the annotations in lua/.
---
---   lua5.4 docs/generate.lua reference|editor
---
--- What C provides is declared in meta.lua; what is Lua is declared where it is written, and has
--- its name in tidegate from init.lua.

local ROOT = "lua/" -- below the folder that it is run in

-- What is read together. What is in no group comes last.
local GROUPS = {
  { "The service", classes = { "tidegate.Service", "tidegate.ServiceRoute", "tidegate.Gateway" } },
  { "Requests and responses", classes = {
    "tidegate.Request", "tidegate.RequestBody", "tidegate.Response", "tidegate.Writer",
  }, "response", "redirect", "url_for" },
  { "The chain", classes = { "tidegate.Interceptor", "tidegate.Context", "tidegate.Err" },
    "error", "on_error", "closed", "access_log", "body_params", "compress", "limit" },
  { "Bodies", "seq", "generate", "file", "csv", "format", "json", "map_body", "tee", "read_body" },
  { "Handlers", "files", "sse", "metrics" },
  { "Uploads", "multipart" },
  { "Waiting and tasks", "sleep", "spawn", "group", "all", "race", "timeout", "wait", "detach",
    "background", "channel", "select", "now", "monotonic" },
  { "Topics", classes = { "tidegate.Topic" }, "topic", "publish_handler", "poll" },
  { "Other servers", "fetch", "proxy", "pool", "forward", "fetch_load" },
  { "Figures, the log, and what workers share", "shared", "stats", "route_stats", "log" },
  { "Testing", "test" },
}

-- --- Reading -------------------------------------------------------------------------------------

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

--- Runs of lines that begin with three dashes, each with the line of code behind it.
local function blocks_of(path)
  local blocks, docs = {}, {}
  for line in read(path):gmatch("([^\n]*)\n") do
    if line:find("^%-%-%-") then
      docs[#docs + 1] = line
    else
      if #docs > 0 then
        blocks[#blocks + 1] = { docs = docs, code = line }
      elseif line:find("^function ") then
        blocks[#blocks + 1] = { docs = {}, code = line }
      end
      docs = {}
    end
  end
  return blocks
end

local function path_of(module)
  local path = ROOT .. module:gsub("%.", "/")
  local file = io.open(path .. ".lua", "rb")
  if file then
    file:close()
    return path .. ".lua"
  end
  return path .. "/init.lua"
end

-- --- What there is -------------------------------------------------------------------------------

local functions = {} -- by full name: { name, args, docs }
local classes = {} -- by name: { name, docs, methods }
local order = {} -- names of functions, as they were found

local function is_private(docs)
  for _, line in ipairs(docs) do
    if line:find("^%-%-%-@private") then
      return true
    end
  end
  return false
end

local function add_function(name, args, docs)
  if functions[name] or is_private(docs) or name:find("[.:]_") then
    return
  end
  functions[name] = { name = name, args = args, docs = docs }
  order[#order + 1] = name
end

--- A block may declare several classes: each begins with its own tag, or with the text before it.
local function add_classes(block)
  local docs, found = {}, nil
  for _, line in ipairs(block.docs) do
    local name = line:match("^%-%-%-@class ([%w_.]+)") or line:match("^%-%-%-@alias ([%w_.]+)")
    if name and found then
      docs = {}
    end
    docs[#docs + 1] = line
    if name then
      found = { name = name, docs = docs, methods = {}, private = is_private(block.docs) }
      classes[name] = classes[name] or found
    end
  end
  return found
end

local function add_method(aliases, block)
  local class, mark, name, args =
    block.code:match("^function ([%a_][%w_]*)([.:])([%a_][%w_]*)(%b())")
  local owner = class and aliases[class]
  if not owner or name:find("^_") or is_private(block.docs) or #block.docs == 0 then
    return
  end
  table.insert(owner.methods, { name = mark .. name, args = args, docs = block.docs })
end

--- Classes of a file, with their methods; done once for each file.
local seen = {}
local function add_file_classes(path)
  if seen[path] then
    return
  end
  seen[path] = true
  local aliases = {}
  for _, block in ipairs(blocks_of(path)) do
    local class = add_classes(block)
    local alias = block.code:match("^local ([%a_][%w_]*) = ")
    if class and alias then
      aliases[alias] = class
    end
    add_method(aliases, block)
  end
end

--- What `local x = require("…")` names in a file.
local function requires_of(path)
  local modules = {}
  for name, module in read(path):gmatch('local ([%w_]+) = require%("(tidegate[%w_.]*)"%)') do
    modules[name] = module
  end
  return modules
end

local add_module

--- tg.name = module.field, or a whole module that is one function or a table of them.
local function add_assignment(name, module, field)
  local path = path_of(module)
  add_file_classes(path)
  local last = module:match("[^.]+$")
  for _, block in ipairs(blocks_of(path)) do
    local args
    if field then
      args = block.code:match("^function [%w_]+%." .. field .. "(%b())")
        or block.code:match("^local function " .. field .. "(%b())")
    else
      args = block.code:match("^local function " .. last .. "(%b())")
    end
    if args and #block.docs > 0 then
      add_function(name, args, block.docs)
      return
    end
  end
  if not field then
    add_module(name, path, last)
  end
end

--- Everything that a file adds to its table, whose name there is `own`.
function add_module(prefix, path, own)
  local modules = requires_of(path)
  for _, block in ipairs(blocks_of(path)) do
    local name, args = block.code:match("^function " .. own .. "%.([%w_.]+)(%b())")
    if name and #block.docs > 0 then
      add_function(prefix .. "." .. name, args, block.docs)
    end
  end
  for line in read(path):gmatch("[^\n]+") do
    local name, module, field = line:match("^" .. own .. "%.([%w_]+) = ([%w_]+)%.?([%w_]*)$")
    if name and modules[module] and not functions[prefix .. "." .. name] then
      add_assignment(prefix .. "." .. name, modules[module], field ~= "" and field or nil)
    end
  end
end

local values = {} -- by full name: docs

local function collect()
  local meta = path_of("tidegate.meta")
  add_file_classes(meta)
  for _, block in ipairs(blocks_of(meta)) do
    local name, args = block.code:match("^function (tg%.[%w_.]+)(%b())")
    local value = block.code:match("^(tg%.[%w_.]+) = ")
    if name then
      add_function(name, args, block.docs)
    elseif value then
      values[value] = block.docs
    end
  end
  add_module("tg", path_of("tidegate"), "tg")
  for _, module in ipairs({ "tidegate.service", "tidegate.upstream.health" }) do
    add_file_classes(path_of(module))
  end
end

-- --- Tags ----------------------------------------------------------------------------------------

--- A block's text, and its tags with the lines that go on with them.
local function parse(docs)
  local text, tags = {}, {}
  for _, line in ipairs(docs) do
    local rest = line:gsub("^%-%-%- ?", "")
    local tag, value = rest:match("^@(%w+)%s*(.*)$")
    if tag then
      tags[#tags + 1] = { tag = tag, value = value }
    elseif #tags > 0 and rest:find("^|") then
      tags[#tags].value = tags[#tags].value .. " " .. rest
    elseif #tags > 0 and tags[#tags].value ~= "" and tags[#tags].tag ~= "class" then
      tags[#tags].value = tags[#tags].value .. " " .. rest
    else
      text[#text + 1] = rest
    end
  end
  return table.concat(text, "\n"), tags
end

--- Splits "fun(a: b): c, d what it is" into the type and the rest.
local function split_type(value)
  local at, depth, quoted = 1, 0, false
  if value:find("^async ") then
    at = 7
  end
  while at <= #value do
    local c = value:sub(at, at)
    if c == '"' then
      quoted = not quoted
    elseif not quoted and c:find("[%(%[{<]") then
      depth = depth + 1
    elseif not quoted and c:find("[%)%]}>]") then
      depth = depth - 1
    elseif not quoted and c == " " and depth == 0 then
      local before = value:sub(1, at - 1):match("(%S)%s*$")
      local after = value:match("^%s*(%S)", at)
      if not before:find("[:|,]") and after ~= "|" then
        break
      end
    end
    at = at + 1
  end
  return value:sub(1, at - 1), (value:sub(at):gsub("^%s+", ""))
end

-- --- Writing Markdown ----------------------------------------------------------------------------

local out = {}

local function write(format, ...)
  out[#out + 1] = select("#", ...) > 0 and format:format(...) or format
end

local function code(text)
  return text:find("`", 1, true) and text or "`" .. text .. "`"
end

local function write_values(kind, list)
  if #list == 0 then
    return
  end
  for _, item in ipairs(list) do
    local parts = { "*" }
    if kind == "return" then
      parts[#parts + 1] = "returns"
    else
      parts[#parts + 1] = code(item.name)
    end
    parts[#parts + 1] = code(item.type) .. (item.text ~= "" and ":" or "")
    parts[#parts + 1] = item.text
    write(table.concat(parts, " "):gsub("%s+$", ""))
  end
end

--- The text with its waits, then parameters, then results.
local function write_docs(docs)
  local text, tags = parse(docs)
  local params, returns, waits = {}, {}, false
  for _, tag in ipairs(tags) do
    if tag.tag == "async" then
      waits = true
    elseif tag.tag == "param" then
      local name, rest = tag.value:match("^(%S+)%s+(.*)$")
      local type_name, about = split_type(rest)
      params[#params + 1] = { name = name, type = type_name, text = about }
    elseif tag.tag == "return" then
      local type_name, about = split_type(tag.value)
      local name, more = about:match("^(%l[%w_]*)%s*(.*)$")
      if name and (more == "" or #name <= 12 and about:find("^[%l_]+ ")) then
        about = more == "" and name or about
      end
      returns[#returns + 1] = { type = type_name, text = about }
    end
  end
  if text ~= "" or waits then
    write("%s%s", waits and (text ~= "" and "*Waits.* " or "*Waits.*") or "", text)
    write("")
  end
  write_values("param", params)
  write_values("return", returns)
  if #params + #returns > 0 then
    write("")
  end
end

local function write_function(name)
  local fn = functions[name]
  write("### %s%s", fn.name, fn.args)
  write("")
  write_docs(fn.docs)
end

local function write_class(class)
  local text, tags = parse(class.docs)
  write("### %s", class.name)
  write("")
  if text ~= "" then
    write("%s", text)
    write("")
  end
  local fields = {}
  for _, tag in ipairs(tags) do
    if tag.tag == "field" then
      local name, rest = tag.value:match("^(%b[])%s+(.*)$")
      if not name then
        name, rest = tag.value:match("^(%S+)%s+(.*)$")
      end
      local type_name, about = split_type(rest)
      fields[#fields + 1] = { name = name, type = type_name, text = about }
    elseif tag.tag == "class" and tag.value:find(":") then
      write("It is a %s, too.", code(tag.value:match(":%s*(%S+)")))
      write("")
    elseif tag.tag == "alias" then
      write("%s", (tag.value:gsub("^%S+%s*", ""):gsub("|%s*(%b\"\")", "`%1`")
        :gsub("^| (%S+) | (.*)$", "`%1`, or `%2`")))
      write("")
    end
  end
  write_values("field", fields)
  if #fields > 0 then
    write("")
  end
  for _, method in ipairs(class.methods) do
    write("#### %s%s%s", class.name:match("[^.]+$"), method.name, method.args)
    write("")
    write_docs(method.docs)
  end
end

-- --- What belongs together -----------------------------------------------------------------------

local written = {}

--- Names of classes in these lines, in their order.
local function names_in(docs, list)
  for _, line in ipairs(docs) do
    for name in line:gmatch("tidegate%.[%w_.]*[%w_]") do
      list[#list + 1] = name
    end
  end
  return list
end

local write_with_classes

--- Those of tidegate.test aside, names that go on in lower case are the library's own affair.
local function is_own(name)
  return name:find("^tidegate%.%l") and not name:find("^tidegate%.test%.")
end

local placed = {} -- classes that a group names, and whether it has come

for _, group in ipairs(GROUPS) do
  for _, name in ipairs(group.classes or {}) do
    placed[name] = false
  end
end

local function write_class_once(name)
  local class = classes[name]
  if not class or class.private or is_own(name) or written[name] or placed[name] == false then
    return
  end
  written[name] = true
  write_class(class)
  local names = names_in(class.docs, {})
  for _, method in ipairs(class.methods) do
    names_in(method.docs, names)
  end
  write_with_classes(names)
end

function write_with_classes(names)
  for _, name in ipairs(names) do
    write_class_once(name)
  end
end

--- The functions that are called tg.key, tg.key.x, tg.key.y, and the classes that they name.
local function write_key(key)
  local full, names = "tg." .. key, {}
  if values[full] and not written[full] then
    written[full] = true
    write("### %s", full)
    write("")
    write_docs(values[full])
  end
  for _, name in ipairs(order) do
    if (name == full or name:find(full .. ".", 1, true) == 1) and not written[name] then
      written[name] = true
      write_function(name)
      names_in(functions[name].docs, names)
    end
  end
  local inside = {}
  for value in pairs(values) do
    if value:find(full .. ".", 1, true) == 1 and not written[value] then
      inside[#inside + 1] = value
    end
  end
  table.sort(inside)
  for _, value in ipairs(inside) do
    written[value] = true
    write("### %s", value)
    write("")
    write_docs(values[value])
  end
  return names
end

local function write_group(group)
  write("## %s", group[1])
  write("")
  local names = {}
  for _, name in ipairs(group.classes or {}) do
    placed[name] = true
    write_class_once(name)
  end
  for n = 2, #group do
    for _, name in ipairs(write_key(group[n])) do
      names[#names + 1] = name
    end
  end
  write_with_classes(names)
end

--- What no group has named.
local function write_rest()
  local names = {}
  for _, name in ipairs(order) do
    if not written[name] then
      if #names == 0 then
        write("## More")
        write("")
      end
      names[#names + 1] = name
      write_with_classes(write_key(name:match("^tg%.([%w_]+)")))
    end
  end
end

local function reference()
  write("# Reference")
  write("")
  write("Everything that `require \"tidegate\"` returns. This page is made by `make docs` of the")
  write("annotations that editors read, too: `tidegate new` puts them into a project. What *waits*")
  write("suspends its caller, and nobody else.")
  write("")
  for n = 1, #GROUPS do
    local title = GROUPS[n][1]
    local anchor = title:lower():gsub("[^%w ]", ""):gsub(" ", "-")
    write("%d. [%s](#%s)", n, title, anchor)
  end
  write("")
  for _, group in ipairs(GROUPS) do
    write_group(group)
  end
  write_rest()
end

-- --- For editors ---------------------------------------------------------------------------------

local function write_lines(lines)
  for _, line in ipairs(lines) do
    write(line)
  end
end

--- meta.lua as it is, then what is Lua as if C provided it.
local function editor()
  local meta = read(path_of("tidegate.meta"))
  local declared = {}
  for name in meta:gmatch("\nfunction (tg%.[%w_.]+)%(") do
    declared[name] = true
  end
  write((meta:gsub("\nreturn tg\n$", "")))
  local own = {}
  for name, class in pairs(classes) do
    local here = meta:find("@class " .. name:gsub("%.", "%%.") .. "%f[^%w_.]")
    if not here and not is_own(name) then
      own[#own + 1] = class
    end
  end
  table.sort(own, function(a, b) return a.name < b.name end)
  for n, class in ipairs(own) do
    write_lines(class.docs)
    if #class.methods > 0 then
      write("local Class%d = {}", n)
      for _, method in ipairs(class.methods) do
        write_lines(method.docs)
        write("function Class%d%s%s end", n, method.name, method.args)
      end
    end
    write("")
  end
  write("tg.test = {}")
  write("")
  for _, name in ipairs(order) do
    if not declared[name] then
      write_lines(functions[name].docs)
      write("function %s%s end", name, functions[name].args)
      write("")
    end
  end
  write("return tg")
end

collect()
if arg[1] == "editor" then
  editor()
else
  reference()
end
io.stdout:write((table.concat(out, "\n"):gsub("\n+$", "")), "\n")
