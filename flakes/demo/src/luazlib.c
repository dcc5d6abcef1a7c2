// require "crc": zlib's CRC-32 for Lua.
#include <lauxlib.h>
#include <lua.h>
#include <zlib.h>

static int crc(lua_State *state) {
    size_t length;
    const char *bytes = luaL_checklstring(state, 1, &length);
    lua_pushinteger(state, (lua_Integer)crc32_z(0, (const Bytef *)bytes, length));
    return 1;
}

int luaopen_crc(lua_State *state) {
    static const luaL_Reg functions[] = {{"crc32", crc}, {NULL, NULL}};
    luaL_newlib(state, functions);
    return 1;
}
