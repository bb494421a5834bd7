/* base/err.c - see base.h: the one sentence that says why set-up failed. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>

int err_set(struct err *e, enum err_kind kind, int neg_errno, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
    va_end(ap);
    if (neg_errno && n >= 0 && (size_t)n < sizeof(e->msg))
        (void)snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %s", strerror(-neg_errno));
    make_one_line(e->msg, strlen(e->msg));
    e->kind = kind;
    return neg_errno ? neg_errno : -EINVAL;
}
