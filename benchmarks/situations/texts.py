"""Sentences of the situations. None of them is in the training texts."""

ENGLISH = (
    "Nobody had lived in the lighthouse for years.",
    "The keeper left on a Tuesday in March.",
    "He took the dog and left the clock.",
    "It still runs, if you wind it up.",
    "We went there once, my brother and I.",
    "The stairs were covered with feathers.",
    "From the top you could see two countries.",
    "One of them does not exist any more.",
    "That summer the bridge was closed.",
    "Everyone walked, and nobody complained.",
    "The baker sold twice as much bread.",
    "And then, one morning, the river was gone.",
)
GERMAN = (
    "Niemand wohnte mehr im Leuchtturm.",
    "Der Wärter ging an einem Dienstag.",
    "Die Uhr ließ er einfach stehen.",
    "Sie läuft noch, wenn man sie aufzieht.",
    "Wir waren nur ein einziges Mal dort.",
    "Überall auf der Treppe lagen Federn.",
)
RUSSIAN = (
    "На маяке давно никто не жил.",
    "Смотритель уехал во вторник.",
    "Собаку он взял, а часы оставил.",
    "Они ещё идут, если их завести.",
    "Мы были там только один раз.",
    "Вся лестница была в перьях.",
)
KOREAN = (
    "등대에는 아무도 살지 않았다.",
    "등대지기는 화요일에 떠났다.",
    "개는 데려가고 시계는 두고 갔다.",
    "태엽을 감으면 아직도 움직인다.",
    "우리는 거기에 한 번만 가 봤다.",
    "계단은 온통 깃털로 덮여 있었다.",
)
THAI = (
    "ไม่มีใครอยู่ในประภาคารมานานแล้ว",
    "ผู้ดูแลจากไปในวันอังคาร",
    "เขาพาหมาไปแต่ทิ้งนาฬิกาไว้",
    "ถ้าไขลานมันก็ยังเดินอยู่",
    "เราเคยไปที่นั่นเพียงครั้งเดียว",
    "บันไดเต็มไปด้วยขนนก",
)
ARABIC = (
    "لم يسكن أحد في المنارة منذ سنوات",
    "رحل الحارس يوم الثلاثاء",
    "أخذ الكلب وترك الساعة",
    "ما زالت تعمل إذا ملأتها",
    "ذهبنا إلى هناك مرة واحدة",
    "كان الريش يغطي الدرج كله",
)
HINDI = (
    "प्रकाशस्तंभ में बरसों से कोई नहीं रहता था",
    "पहरेदार मंगलवार को चला गया",
    "वह कुत्ता ले गया और घड़ी छोड़ गया",
    "चाबी भरो तो वह अब भी चलती है",
    "हम वहाँ बस एक बार गए थे",
    "सीढ़ियाँ पंखों से भरी थीं",
)
VIETNAMESE = (
    "Không ai sống ở ngọn hải đăng nữa.",
    "Người gác đèn rời đi vào thứ ba.",
    "Ông ấy mang theo con chó, để lại đồng hồ.",
    "Nó vẫn chạy nếu bạn lên dây cót.",
    "Chúng tôi chỉ đến đó một lần.",
    "Cầu thang phủ đầy lông chim.",
)
JAPANESE = (
    "灯台には誰も住んでいなかった。",
    "番人は火曜日に出ていった。",
    "犬は連れて、時計は置いていった。",
    "ねじを巻けば、まだ動く。",
    "私たちは一度だけ行ったことがある。",
    "階段は羽根だらけだった。",
)
CHINESE = (
    "灯塔里早就没有人住了。",
    "看守人是星期二走的。",
    "他带走了狗，留下了钟。",
    "上了发条，它还会走。",
    "我们只去过那里一次……",
    "楼梯上到处都是羽毛！",
)
POLISH = (
    "Źródło wyschło już w maju.",
    "Łódź została na brzegu.",
    "Żółty pies śpi pod ławką.",
    "Ktoś zgubił tu klucze, prawda?",
)
SPANISH = (
    "¡Qué lejos queda el faro!",
    "¿Quién dejó aquí el reloj?",
    "Mañana cerrarán el puente.",
    "Señor, el niño está soñando.",
)
