"""A payment service: it tries again while its bank is away, and parks what it cannot pay."""

from bank import Bank

from postage import Exchange, GenericProducer, MessageHandler, MessageProcessor, Retry


class PaymentExchange(Exchange):
    name = "payment-exchange"


class Customer(GenericProducer):
    eks = [(PaymentExchange, "pay")]


class Payments(MessageProcessor):
    eqk = [(PaymentExchange, [("payments", "pay")])]
    # Once more at once; the same after 0.25 s, and after 0.5 s.  Other errors park the payment.
    retry = Retry(now=1, delays=(0.25, 0.5), on=ConnectionError)

    def __init__(self):
        super().__init__()
        self.bank = Bank()
        self.paid = []

    @MessageHandler("command", "pay")
    def pay(self, content):
        to = content["parameters"]
        print(f"{to}: trying", flush=True)
        self.bank.transfer(to)
        self.paid.append(to)
        print(f"{to}: paid", flush=True)
