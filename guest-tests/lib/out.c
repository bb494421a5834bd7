/* guest-tests/lib/out.c - formatted output to the debug console, a byte at a time: the one device
 * that needs nothing set up, so that whatever breaks can still be told. */
#include "guest.h"

static void put(char c)
{
    port_write8(PORT_DEBUG, (uint8_t)c);
}

struct format {
    bool zero, alternate;
    unsigned width;
    unsigned length; /* of the argument: how many l */
};

static void put_padded(const struct format *f, const char *s, size_t n)
{
    for (size_t i = n; i < f->width; i++)
        put(f->zero ? '0' : ' ');
    for (size_t i = 0; i < n; i++)
        put(s[i]);
}

static void put_number(const struct format *f, uint64_t v, unsigned base, bool negative)
{
    char digits[24];
    size_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    if (f->alternate && base == 16) {
        digits[--at] = 'x';
        digits[--at] = '0';
    }
    if (negative)
        digits[--at] = '-';
    put_padded(f, digits + at, sizeof(digits) - at);
}

static const char *parse(const char *s, struct format *f)
{
    *f = (struct format){0};
    for (;; s++) {
        if (*s == '#')
            f->alternate = true;
        else if (*s == '0')
            f->zero = true;
        else
            break;
    }
    for (; *s >= '0' && *s <= '9'; s++)
        f->width = f->width * 10 + (unsigned)(*s - '0');
    for (; *s == 'l' || *s == 'z'; s++)
        f->length++;
    return s;
}

void out_v(const char *fmt, va_list ap)
{
    for (const char *s = fmt; *s; s++) {
        struct format f;
        if (*s != '%') {
            put(*s);
            continue;
        }
        s = parse(s + 1, &f);
        switch (*s) {
        case 'd': {
            int64_t v = f.length ? va_arg(ap, long) : va_arg(ap, int);
            put_number(&f, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10, v < 0);
            break;
        }
        case 'u':
        case 'x': {
            uint64_t v = f.length ? va_arg(ap, unsigned long) : va_arg(ap, unsigned);
            put_number(&f, v, *s == 'x' ? 16 : 10, false);
            break;
        }
        case 's': {
            const char *text = va_arg(ap, const char *);
            put_padded(&f, text, strlen(text));
            break;
        }
        case 'c':
            put((char)va_arg(ap, int));
            break;
        case '\0':
            return;
        default:
            put(*s);
            break;
        }
    }
}

void out(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    out_v(fmt, ap);
    va_end(ap);
}
