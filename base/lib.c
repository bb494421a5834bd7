/* base/lib.c - see lib.h. */
#include "base/lib.h"

#include <dlfcn.h>

int lib_load(const char *soname, const struct lib_function *f, size_t n, struct err *e)
{
    void *lib = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return err_host(e, 0, "cannot load a library: %s", dlerror());
    for (size_t i = 0; i < n; i++) {
        void *function = dlsym(lib, f[i].name);
        if (!function)
            return err_host(e, 0, "%s: has no %s: it is another version", soname, f[i].name);
        memcpy(f[i].at, &function, sizeof(function)); /* ISO C knows no such cast */
    }
    return 0;
}
