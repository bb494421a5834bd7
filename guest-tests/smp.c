/* guest-tests/smp.c - a second CPU: started by INIT and startup IPI from real mode, as every kernel
 * does it, then counting together with the first one and exchanging interrupts with it. */
#include "lib/ap.h"
#include "lib/irq.h"

enum { ROUNDS = 20000, PINGS = 50 };

static volatile uint32_t ap_here, ap_id, ap_cpuid_id, go, ap_counted;
static volatile uint32_t pings[2]; /* that CPU n received */
static uint64_t atomic_sum;
static uint64_t plain_sum;
static uint32_t lock;

static void count(void)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        __atomic_fetch_add(&atomic_sum, 1, __ATOMIC_SEQ_CST);
        while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
            cpu_pause();
        plain_sum++;
        __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    }
}

static void on_ping(unsigned vector)
{
    (void)vector;
    uint32_t me = lapic_id();
    pings[me & 1]++;
    if (me != 0)
        lapic_send(0, ICR_FIXED | VECTOR_IPI); /* the answer */
}

static void ap_main(void)
{
    ap_id = lapic_id();
    ap_cpuid_id = cpuid(1, 0).ebx >> 24;
    __atomic_store_n(&ap_here, ap_here + 1, __ATOMIC_SEQ_CST);
    while (!go)
        cpu_pause();
    count();
    ap_counted = 1;
    for (;;)
        interrupt_wait();
}

static void test_pings(void)
{
    irq_handle(VECTOR_IPI, on_ping);
    for (unsigned i = 0; i < PINGS; i++) {
        uint32_t before = pings[0];
        lapic_send(1, ICR_FIXED | VECTOR_IPI);
        if (i < 2) {
            interrupts_on();
            if (!WAIT_FOR(pings[0] != before))
                end_fail("no answer to an interrupt; the other CPU received %u", pings[1]);
            interrupts_off();
        }
        while (pings[0] == before)
            interrupt_wait();
    }
    CHECK_EQ(pings[0], PINGS);
    CHECK_EQ(pings[1], PINGS);
}

void guest_main(void)
{
    lapic_init();
    CHECK_EQ(lapic_id(), 0);
    CHECK_EQ(cpuid(1, 0).ebx >> 24, 0);
    ap_start(1, ap_main);
    if (!WAIT_FOR(ap_here))
        end_fail("the second CPU does not come up");
    CHECK_EQ(ap_id, 1);
    CHECK_EQ(ap_cpuid_id, 1);
    CHECK_EQ(ap_here, 1);
    go = 1;
    count();
    if (!WAIT_FOR(ap_counted))
        end_fail("the second CPU does not come to an end");
    CHECK_EQ(atomic_sum, 2 * ROUNDS);
    CHECK_EQ(plain_sum, 2 * ROUNDS);
    out("smp: two CPUs counted to %lu\n", atomic_sum);
    test_pings();
    CHECK_EQ(irq_stray(), 0);
}
