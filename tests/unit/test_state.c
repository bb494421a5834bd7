/* tests/unit/test_state.c - saved state goes out and comes back the same, and nothing that was cut,
 * bent or forged is taken for it. */
#include <criterion/criterion.h>

#include "base/state.h"

enum { VERSION = 1 };

static struct state_out out;

static void down(void)
{
    state_out_free(&out);
}

TestSuite(state, .fini = down, .timeout = 60);

static void write_all(void)
{
    state_begin(&out, "ONE ", VERSION);
    state_u8(&out, 0xfe);
    state_u16(&out, 0xfedc);
    state_u32(&out, 0xfedcba98);
    state_u64(&out, 0xfedcba9876543210);
    state_bytes(&out, "five!", 5);
    state_bytes(&out, NULL, 0);
    state_bytes(&out, "blob", 4);
    state_end(&out);
    state_begin(&out, "TWO ", VERSION);
    state_end(&out);
    state_begin(&out, "END ", VERSION);
    state_u32(&out, 3);
    state_end(&out);
    cr_assert_eq(out.error, 0);
}

/* Everything that write_all() wrote, or -EBADMSG. */
static int read_all(const uint8_t *p, size_t len)
{
    struct state_in s = {.buf = p, .len = len};
    uint32_t version;
    char five[5], blob[8];
    if (state_open(&s, "ONE ", VERSION, &version) < 0)
        return -EBADMSG;
    bool same = state_get_u8(&s) == 0xfe;
    same = state_get_u16(&s) == 0xfedc && same;
    same = state_get_u32(&s) == 0xfedcba98 && same;
    same = state_get_u64(&s) == 0xfedcba9876543210 && same;
    state_get_bytes(&s, five, 5);
    state_get_bytes(&s, NULL, 0);
    same = state_get_blob(&s, blob, sizeof(blob)) == 4 && same;
    if (state_close(&s) < 0)
        return -EBADMSG;
    cr_assert(same && version == VERSION && memcmp(five, "five!", 5) == 0 &&
                  memcmp(blob, "blob", 4) == 0,
              "taken, but not the same");
    if (state_open(&s, "TWO ", VERSION, &version) < 0 || state_close(&s) < 0 ||
        state_open(&s, "END ", VERSION, &version) < 0)
        return -EBADMSG;
    cr_assert_eq(state_get_u32(&s), 3);
    return state_close(&s);
}

Test(state, comes_back_the_same)
{
    write_all();
    cr_assert_eq(read_all(out.buf, out.len), 0);
}

Test(state, every_truncation_is_refused)
{
    write_all();
    for (size_t cut = 0; cut < out.len; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1); /* a read past its end is for the sanitizer */
        memcpy(exact, out.buf, cut);
        cr_assert_eq(read_all(exact, cut), -EBADMSG, "cut at %zu", cut);
        free(exact);
    }
}

Test(state, every_flipped_bit_is_refused)
{
    write_all();
    for (size_t bit = 0; bit < out.len * 8; bit++) {
        out.buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(read_all(out.buf, out.len), -EBADMSG, "bit %zu", bit);
        out.buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_eq(read_all(out.buf, out.len), 0);
}

Test(state, a_bit_of_the_version_between_two_that_are_known)
{
    state_begin(&out, "VERS", 2);
    state_u32(&out, 1);
    state_end(&out);
    out.buf[4] ^= 1; /* 2 becomes 3 */
    struct state_in s = {.buf = out.buf, .len = out.len};
    uint32_t version = 77;
    cr_assert_eq(state_open(&s, "VERS", 3, &version), -EBADMSG);
    cr_assert_eq(version, 77);
}

static struct state_in one_section(uint32_t version)
{
    state_begin(&out, "TAG ", version);
    state_u32(&out, 0x01020304);
    state_end(&out);
    return (struct state_in){.buf = out.buf, .len = out.len};
}

Test(state, the_tag_must_be_the_same)
{
    struct state_in s = one_section(1);
    uint32_t v = 77;
    cr_assert_eq(state_open(&s, "GAT ", 1, &v), -EBADMSG);
    cr_assert_eq(v, 77, "untouched");
    cr_assert_eq(s.pos, 0, "and it may be tried by another name");
    cr_assert_eq(state_open(&s, "TAG ", 1, &v), 0);
}

Test(state, versions)
{
    uint32_t v = 77;
    struct state_in s = one_section(3);
    cr_assert_eq(state_open(&s, "TAG ", 2, &v), -EBADMSG, "from the future");
    cr_assert_eq(v, 77);
    cr_assert_eq(state_open(&s, "TAG ", 3, &v), 0);
    cr_assert_eq(v, 3);
    state_out_free(&out);
    s = one_section(3);
    cr_assert_eq(state_open(&s, "TAG ", 9, &v), 0);
    cr_assert_eq(v, 3, "the one that it has");
    state_out_free(&out);
    s = one_section(0);
    cr_assert_eq(state_open(&s, "TAG ", 9, &v), -EBADMSG, "there is no version 0");
}

Test(state, the_length_must_fit)
{
    const uint32_t lengths[] = {0, 3, 5, 0x7fffffff, 0xffffffff, 0xfffffff0};
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        struct state_in s = one_section(1);
        uint32_t v;
        put_bytes(out.buf + 8, lengths[i], 4);
        cr_assert_eq(state_open(&s, "TAG ", 1, &v), -EBADMSG, "%u", lengths[i]);
        state_out_free(&out);
    }
}

Test(state, reading_past_the_end_is_remembered)
{
    struct state_in s = one_section(1);
    uint32_t v;
    cr_assert_eq(state_open(&s, "TAG ", 1, &v), 0);
    cr_assert_eq(state_get_u16(&s), 0x0304);
    cr_assert_eq(state_get_u32(&s), 0, "two bytes are not four");
    cr_assert_eq(s.error, -EBADMSG);
    cr_assert_eq(state_get_u16(&s), 0, "nor is anything else given out after that");
    cr_assert_eq(state_get_u8(&s), 0);
    cr_assert_eq(state_get_u64(&s), 0);
    uint8_t buf[2] = {9, 9};
    state_get_bytes(&s, buf, 2);
    cr_assert_eq(buf[0] | buf[1], 0, "zeroes");
    cr_assert_eq(state_get_blob(&s, buf, 2), 0);
    cr_assert_eq(state_close(&s), -EBADMSG);
    cr_assert_eq(state_open(&s, "TAG ", 1, &v), -EBADMSG, "and no section is opened");
}

Test(state, the_next_section_is_not_read_into)
{
    (void)one_section(1);
    struct state_in s = one_section(1);
    uint32_t v;
    cr_assert_eq(state_open(&s, "TAG ", 1, &v), 0);
    (void)state_get_u32(&s);
    cr_assert_eq(state_get_u8(&s), 0);
    cr_assert_eq(s.error, -EBADMSG);
}

Test(state, what_is_left_over_is_an_error)
{
    struct state_in s = one_section(1);
    uint32_t v;
    cr_assert_eq(state_open(&s, "TAG ", 1, &v), 0);
    (void)state_get_u16(&s);
    cr_assert_eq(state_close(&s), -EBADMSG);
}

static struct state_in bytes_section(const char *p, size_t len)
{
    state_begin(&out, "BYTE", 1);
    state_bytes(&out, p, len);
    state_u8(&out, 0x77);
    state_end(&out);
    struct state_in s = {.buf = out.buf, .len = out.len};
    uint32_t v;
    cr_assert_eq(state_open(&s, "BYTE", 1, &v), 0);
    return s;
}

Test(state, bytes_have_exactly_that_length)
{
    for (size_t len = 0; len < 8; len++) {
        char buf[8];
        memset(buf, 'x', sizeof(buf));
        struct state_in s = bytes_section("abcd", 4);
        state_get_bytes(&s, buf, len);
        cr_assert_eq(s.error, len == 4 ? 0 : -EBADMSG, "%zu", len);
        for (size_t i = 0; i < sizeof(buf); i++)
            cr_assert_eq(buf[i], i >= len ? 'x' : len == 4 ? "abcd"[i] : 0);
        cr_assert_eq(state_get_u8(&s), len == 4 ? 0x77 : 0);
        state_out_free(&out);
    }
}

Test(state, a_blob_has_at_most_that_length)
{
    for (size_t max = 0; max < 8; max++) {
        char buf[8];
        memset(buf, 'x', sizeof(buf));
        struct state_in s = bytes_section("abcd", 4);
        cr_assert_eq(state_get_blob(&s, buf, max), max >= 4 ? 4 : 0);
        cr_assert_eq(s.error, max >= 4 ? 0 : -EBADMSG);
        cr_assert_eq(memcmp(buf, max >= 4 ? "abcdxxxx" : "xxxxxxxx", 8), 0);
        state_out_free(&out);
    }
    struct state_in s = bytes_section(NULL, 0);
    cr_assert_eq(state_get_blob(&s, NULL, 0), 0);
    cr_assert_eq(s.error, 0, "an empty one is no error");
    cr_assert_eq(state_get_u8(&s), 0x77);
}

Test(state, a_blob_that_claims_more_than_there_is)
{
    const uint32_t claims[] = {5, 6, 0x7fffffff, 0xffffffff};
    static char buf[64];
    for (size_t i = 0; i < ARRAY_SIZE(claims); i++) {
        state_begin(&out, "BLOB", 1);
        state_u32(&out, claims[i]);
        state_u32(&out, 0x64636261);
        state_end(&out);
        struct state_in s = {.buf = out.buf, .len = out.len};
        uint32_t v;
        cr_assert_eq(state_open(&s, "BLOB", 1, &v), 0);
        cr_assert_eq(state_get_blob(&s, buf, SIZE_MAX), 0);
        cr_assert_eq(s.error, -EBADMSG);
        state_out_free(&out);
    }
}

Test(state, a_large_one_grows)
{
    size_t len = 3 << 20;
    uint8_t *big = malloc(len), *back = calloc(1, len);
    for (size_t i = 0; i < len; i++)
        big[i] = (uint8_t)(i * 7 >> 3);
    state_begin(&out, "BIG ", 1);
    for (unsigned i = 0; i < 1000; i++)
        state_u8(&out, (uint8_t)i);
    state_bytes(&out, big, len);
    state_end(&out);
    struct state_in s = {.buf = out.buf, .len = out.len};
    uint32_t v;
    cr_assert_eq(out.error, 0);
    cr_assert_eq(state_open(&s, "BIG ", 1, &v), 0);
    for (unsigned i = 0; i < 1000; i++)
        cr_assert_eq(state_get_u8(&s), (uint8_t)i);
    state_get_bytes(&s, back, len);
    cr_assert_eq(state_close(&s), 0);
    cr_assert_eq(memcmp(big, back, len), 0);
    free(big);
    free(back);
}

Test(state, a_failure_to_write_is_remembered)
{
    out.error = -ENOMEM;
    state_begin(&out, "ONE ", 1);
    state_u64(&out, 1);
    state_bytes(&out, "x", 1);
    state_end(&out);
    cr_assert_eq(out.error, -ENOMEM);
    cr_assert_eq(out.len, 0);
}

Test(state, free_may_be_called_twice)
{
    write_all();
    state_out_free(&out);
    cr_assert_null(out.buf);
    cr_assert_eq(out.len, 0);
    state_out_free(&out);
}
