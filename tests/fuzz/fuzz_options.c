/* tests/fuzz/fuzz_options.c - the command line, a word a line, with the devices that there are; and
 * what a user writes about networks. Nothing is opened. */
#include "devices/net/text.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/options.h"

enum { WORDS_MAX = 32 };

static void command_line(struct script *s)
{
    char *argv[WORDS_MAX + 1] = {(char *)"vmm"};
    struct vm_config cfg;
    enum options_action action;
    struct err e = {0};
    int argc = 1;
    while (argc < WORDS_MAX && s->len > 0)
        argv[argc++] = take_text(s, '\n');
    if (options_parse(argc, argv, &cfg, &action, &e) == 0)
        options_free(&cfg);
    else
        EXPECT(e.msg[0] && strlen(e.msg) < sizeof(e.msg) && e.kind == ERR_INPUT, "%s", e.msg);
    for (int i = 1; i < argc; i++)
        free(argv[i]);
}

static void of_networks(struct script *s)
{
    char *text = take_text(s, '\n');
    uint8_t mac[NET_MAC_LEN];
    struct net_hostfwd f;
    uint32_t net, mask;
    if (net_parse_mac(text, mac) == 0)
        EXPECT(!(mac[0] & 1));
    if (net_parse_hostfwd(text, &f) == 0)
        EXPECT(f.guest_port);
    if (net_parse_subnet(text, &net, &mask) == 0)
        EXPECT(mask && (net & ~mask) == 0);
    free(text);
}

void fuzz_options(struct script *s, const char *which)
{
    (void)which;
    if (take8(s) == 'n')
        of_networks(s);
    else
        command_line(s);
}
